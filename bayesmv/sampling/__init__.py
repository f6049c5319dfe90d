"""NUTS runs, from a log posterior to a DataTree."""
