//! The command line against a running gateway and against files.
