//! stderr and stdout in the log.
