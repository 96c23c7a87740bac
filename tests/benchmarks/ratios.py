"""One line per result, alike in all benchmarks, so that run_all.py can make one table of them."""

MARK = "result: "


def print_result(what: str, against: str, measured: str) -> None:
    """Print a result: what was measured, against what, and the number with its unit (`against` may
    be empty).
    """
    print(f"{MARK}{what} | {against} | {measured}", flush=True)


def row_of(line: str) -> list[str] | None:
    """What was said in a line of a benchmark's output: [what, against, measured]; None for any
    other line.
    """
    return line.removeprefix(MARK).strip().split(" | ") if line.startswith(MARK) else None
