"""Which cases a protocol trains and tests on, and copies of them."""
