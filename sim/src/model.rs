//! What an arm is made of: links, joints and limits, read from a URDF with primitive shapes.

use firmware_bridge::JointLimits;
use nalgebra::{Isometry3, Matrix3, Point3, Unit, Vector3};

/// A serial chain of revolute joints. Base frame: origin where the first joint's axis meets the table, x forward
/// at joint zero, y left, z up; m, rad, kg.
#[derive(Debug, Clone)]
pub struct ArmModel {
    /// Name of the arm, such as `so101`.
    pub name: String,
    /// The fixed link that carries the first joint.
    pub base: LinkModel,
    /// Joints from the base outwards; the gripper's jaw is last.
    pub joints: Vec<JointModel>,
    /// Fingertip: a point between the jaws, in the frame of the link named by `tip_joint`; its z axis points
    /// out of the hand along the fingers.
    pub tip: Isometry3<f64>,
    /// Index of the joint that moves the link on which the fingertip lies (the wrist's roll, not the jaw).
    pub tip_joint: usize,
}

/// One joint and the link that it moves.
#[derive(Debug, Clone)]
pub struct JointModel {
    /// Name of the joint, such as `shoulder_pan`.
    pub name: String,
    /// Index of the joint whose link carries this one; `None` for the base.
    pub parent: Option<usize>,
    /// Pose of the joint in the parent link's frame at angle zero.
    pub origin: Isometry3<f64>,
    /// Axis of rotation in the joint's own frame.
    pub axis: Unit<Vector3<f64>>,
    /// Limits of angle and speed.
    pub limits: JointLimits,
    /// Largest torque, N·m.
    pub effort_nm: f64,
    /// The link that turns with the joint.
    pub link: LinkModel,
}

/// A rigid link.
#[derive(Debug, Clone)]
pub struct LinkModel {
    /// Name of the link.
    pub name: String,
    /// Mass, kg.
    pub mass_kg: f64,
    /// Centre of mass in the link's frame, m.
    pub center: Point3<f64>,
    /// Inertia about the centre of mass, in the axes of the link's frame, kg·m².
    pub inertia: Matrix3<f64>,
    /// Collision shapes with their poses in the link's frame.
    pub shapes: Vec<(Isometry3<f64>, Shape)>,
}

/// A primitive collision shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Box with these half extents, m.
    Cuboid(Vector3<f64>),
    /// Cylinder along its z axis: radius and half length, m.
    Cylinder(f64, f64),
    /// Ball of this radius, m.
    Ball(f64),
    /// Capsule along its z axis: radius and half length of the straight part, m.
    Capsule(f64, f64),
}
