//! From the text of a file to a model that cannot be invalid.
