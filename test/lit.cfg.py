# How lit runs the textual tests: RUN lines in *.mlir and *.test below test/.
# Substitutions: the tools of this build by name; %shared (REQUIRES: shared) is the folder of models and data; %model is
# the model that ships with the project; "%exits N command" succeeds if the command's exit code is N.
# Features: each built tool's name, `shared`, and the machine (`x86_64`, `aarch64`).
import os
import platform
import sys

import lit.formats

config.name = "emoe"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["inputs"]
config.test_source_root = os.path.join(config.source_dir, "test")
config.test_exec_root = os.path.join(config.build_dir, "test")

tools = os.path.join(config.build_dir, "bin")
config.environment["PATH"] = os.pathsep.join([tools, config.llvm_tools, os.environ.get("PATH", "")])
config.environment["FILECHECK_OPTS"] = "-enable-var-scope"
for tool in ["emoe-opt", "emoec", "emoe-rt", "emoe-dump"]:
    path = os.path.join(tools, tool)
    if os.path.exists(path):
        config.available_features.add(tool)

shared = os.environ.get("EMOE_SHARED", os.path.join(config.source_dir, os.pardir, "shared"))
if os.path.isdir(shared):
    config.available_features.add("shared")
    config.substitutions.append(("%shared", os.path.abspath(shared)))
config.available_features.add(platform.machine())

config.substitutions.append(("%model", os.path.join(config.test_source_root, "models", "bookmoe-5m")))
config.substitutions.append(("%python", sys.executable))
config.substitutions.append(("%exits", f"{sys.executable} {os.path.join(config.test_source_root, 'tools', 'exits.py')}"))
