//! servo
