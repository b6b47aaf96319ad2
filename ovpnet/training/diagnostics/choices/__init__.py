"""The diagnostics, a module each: every class here is a switch of `diagnostics`."""
