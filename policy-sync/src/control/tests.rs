//! Tests of the control plane over a log in memory.
