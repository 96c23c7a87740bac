"""The ATen operations that a network's graph may hold: pure functions of their arguments.

Nothing else can be run by a stored network. Operations that draw random numbers, read memory that
nobody wrote, or change their arguments are not among them.
"""

from collections.abc import Iterable

from common.files import UserError

LINEAR = """conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d linear matmul mm bmm
    mv dot vdot outer inner addmm addmv baddbmm einsum tensordot bilinear"""
NORMALISATIONS = "batch_norm layer_norm group_norm instance_norm rms_norm"
ACTIVATIONS = """relu leaky_relu prelu elu selu celu gelu silu mish softplus sigmoid log_sigmoid
    tanh hardtanh relu6 hardswish hardsigmoid hardshrink softshrink threshold"""
OF_ONE_NUMBER = """abs neg exp exp2 log log2 log10 log1p expm1 sqrt rsqrt square pow reciprocal sin
    cos tan sinh cosh asin acos atan erf clamp clamp_min clamp_max sign ceil floor round trunc frac
    nan_to_num positive asinh acosh atanh erfc sinc logit"""
OF_TWO_NUMBERS = """add sub subtract rsub mul multiply div divide true_divide maximum minimum fmax
    fmin floor_divide remainder fmod atan2 addcmul addcdiv lerp hypot logaddexp
    xlogy heaviside"""
COMPARISONS = """eq ne lt le gt ge logical_and logical_or logical_not logical_xor bitwise_and
    bitwise_or bitwise_xor bitwise_not isnan isinf isfinite"""
REDUCTIONS = """sum mean amax amin max min std var std_mean var_mean norm linalg_vector_norm
    logsumexp argmax argmin prod cumsum cumprod topk sort argsort median any all count_nonzero
    nansum nanmean aminmax logcumsumexp cummax cummin kthvalue nanmedian mode
    quantile nanquantile"""
DISTANCES = "cdist pairwise_distance cosine_similarity cross"
ATTENTION = "softmax _softmax log_softmax _log_softmax scaled_dot_product_attention"
POOLS = """max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_max_pool1d adaptive_max_pool2d max_pool1d_with_indices max_pool2d_with_indices glu
    max_unpool2d max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d"""
SHAPES = """view _unsafe_view reshape view_as reshape_as flatten unflatten squeeze unsqueeze
    transpose swapaxes swapdims permute t numpy_T mT movedim expand expand_as broadcast_to repeat
    tile repeat_interleave slice select narrow cat concat stack hstack split split_with_sizes chunk
    tensor_split unbind flip roll pad constant_pad_nd reflection_pad1d replication_pad1d
    reflection_pad2d replication_pad2d index index_select gather take_along_dim masked_fill where
    slice_scatter select_scatter unfold diff tril triu diagonal to _to_copy contiguous clone
    detach alias lift_fresh getitem _weight_norm pixel_shuffle pixel_unshuffle
    channel_shuffle scatter scatter_add index_add index_copy index_fill index_put
    rot90"""
RESAMPLING = """upsample_linear1d upsample_nearest1d upsample_bilinear2d upsample_nearest2d
    upsample_bicubic2d _upsample_nearest_exact1d _upsample_nearest_exact2d im2col col2im
    grid_sampler affine_grid_generator"""
MAKERS = """zeros ones full arange linspace eye zeros_like ones_like full_like new_zeros new_ones
    new_full scalar_tensor embedding one_hot hann_window hamming_window
    blackman_window bartlett_window kaiser_window"""
RECURRENT = "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"
SPECTRA = """fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 stft istft
    view_as_real view_as_complex real imag complex angle conj resolve_conj polar"""

OPERATIONS = frozenset(
    " ".join(
        (
            LINEAR,
            NORMALISATIONS,
            ACTIVATIONS,
            OF_ONE_NUMBER,
            OF_TWO_NUMBERS,
            COMPARISONS,
            REDUCTIONS,
            DISTANCES,
            ATTENTION,
            POOLS,
            SHAPES,
            RESAMPLING,
            MAKERS,
            RECURRENT,
            SPECTRA,
        )
    ).split()
)

LARGEST = 2**31 - 1  # beyond it some of PyTorch's own computations of sizes run over, and never end


def check_sizes(described: str, values: Iterable[object]) -> None:
    """UserError for a list of whole numbers (a kernel, a stride, a shape) among an operation's
    arguments that no network has.
    """
    for value in values:
        if not isinstance(value, (list, tuple)):
            continue
        check_sizes(described, value)
        for part in value:
            if type(part) is int and abs(part) > LARGEST:
                raise UserError(f"operation {described} has a size of {str(part)[:20]}: too large")
