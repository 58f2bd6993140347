"""images.py BUNDLE FOLDER: writes each kernel image of a bundle to FOLDER/<instruction set>.elf."""
import json
import os
import subprocess
import sys

bundle, folder = sys.argv[1:]
dump = json.loads(subprocess.run(["emoe-dump", "--json", bundle], check=True, capture_output=True).stdout)
start = dump["sections"]["kernels"]["offset"]
os.makedirs(folder, exist_ok=True)
with open(bundle, "rb") as file:
    for image in dump["images"]:
        file.seek(start + image["offset"])
        with open(os.path.join(folder, image["isa"] + ".elf"), "wb") as out:
            out.write(file.read(image["bytes"]))
