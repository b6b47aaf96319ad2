"""The concepts, a module each: every class here is a choice of `concept=`."""
