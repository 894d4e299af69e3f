import pytest


@pytest.mark.slow
def test_what_stands_in_for_the_compiler_gives_way_to_it(new_python):
    script = """
import sys
from imted.compat import _compiler_stand_in

with _compiler_stand_in():
    import torch._dynamo
    three = torch._dynamo.disable(lambda: 3)
assert "torch._dynamo" not in sys.modules
assert three() == 3  # which has asked for the compiler
assert sys.modules["torch._dynamo"].__file__
for name in [name for name in sys.modules if name.startswith("torch._dynamo")]:
    del sys.modules[name]
with _compiler_stand_in():
    import torch._dynamo
    print(torch._dynamo.is_compiling())  # which the stand-in lacks
assert sys.modules["torch._dynamo"].__file__
"""
    done = new_python("-c", script)
    assert done.stdout == "False\n", done.stderr
