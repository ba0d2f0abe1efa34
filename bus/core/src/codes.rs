//! The pages of the codes.
