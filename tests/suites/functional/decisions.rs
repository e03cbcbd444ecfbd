//! The shared table of decisions: the same rows through a real socket as through the unit tests and `explain`.
