//! What the edge answers.
