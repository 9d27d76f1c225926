//! kinematics
