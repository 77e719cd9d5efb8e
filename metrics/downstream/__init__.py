"""Downstream protocols: does a classifier gain from the generated volumes?"""

# name -> ("module:Class", static facts). A test proves that the facts equal the class's own, so
# listing protocols needs no torch.
BUILTIN: dict[str, tuple[str, dict[str, object]]] = {}
