"""What every stage needs: labels, files, the command line, statistics, plotting."""

import os
import sys

# A stage draws into files: a backend of the user's that needs a screen, or is not there, must not
# end it. A notebook keeps its own.
if os.path.dirname(os.path.abspath(sys.argv[0])) == os.path.dirname(os.path.dirname(__file__)):
    os.environ["MPLBACKEND"] = "Agg"
