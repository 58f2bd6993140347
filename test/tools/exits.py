"""exits.py CODE COMMAND...: runs the command and succeeds if it exits with CODE (lit's `not` knows no numbers)."""
import subprocess
import sys

code = subprocess.call(sys.argv[2:])
if code != int(sys.argv[1]):
    sys.exit(f"exits.py: exit code {code} instead of {sys.argv[1]}: {' '.join(sys.argv[2:])}")
