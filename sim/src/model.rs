//! What an arm is made of: links, joints and limits, read from a URDF with primitive shapes.
//!
//! The URDF is held to a strict subset, so that nothing in it is silently ignored: one chain of revolute joints in
//! file order, one fixed joint that marks the fingertip, boxes, cylinders, spheres and capsules.

use crate::reach::Reach;
use firmware_bridge::{JointLimits, MAX_JOINTS};
use nalgebra::{Isometry3, Matrix3, Point3, Translation3, Unit, UnitQuaternion, Vector3};
use urdf_rs::{Geometry, JointType};

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
    /// Where the fingertip may go.
    pub reach: Reach,
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

/// Why a URDF does not describe an arm that can be simulated. Every message names the element to mend.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not a URDF.
    #[error("not a URDF: {0}")]
    Parse(#[from] urdf_rs::UrdfError),
    /// The links and joints do not form a serial chain.
    #[error("expected a serial chain of joints in order from the base outwards, found {0}")]
    Chain(String),
    /// A joint is of a kind that cannot be driven.
    #[error("joint {joint}: expected a revolute joint, found {found:?}; fix the joint's links together or remove it")]
    Kind {
        /// Name of the joint.
        joint: String,
        /// Its type in the file.
        found: JointType,
    },
    /// Too few or too many joints.
    #[error("expected 2 to {MAX_JOINTS} revolute joints, found {0}")]
    JointCount(usize),
    /// Not exactly one fixed joint, which marks the fingertip.
    #[error("expected one fixed joint to a link without mass or shapes, marking the fingertip, found {0}")]
    Fingertip(String),
    /// A number is missing, not finite or has an impossible value.
    #[error("{element}: expected {expected}, found {found}")]
    Value {
        /// Which link or joint, and which number of it.
        element: String,
        /// What the number must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// The SO-101's description, embedded so that the program needs no file beside it.
const SO101_URDF: &str = include_str!("../../models/arms/so101.urdf");
/// The Koch's.
const KOCH_URDF: &str = include_str!("../../models/arms/koch.urdf");

impl ArmModel {
    /// The SO-101: six STS3215 servos; source in `models/arms/so101.urdf`.
    ///
    /// # Errors
    /// The embedded file is damaged; a test keeps it sound.
    pub fn so101() -> Result<Self, ModelError> {
        Self::from_urdf(SO101_URDF)
    }

    /// The Koch v1.1: two XL430 and four XL330 servos; source in `models/arms/koch.urdf`.
    ///
    /// # Errors
    /// As [`ArmModel::so101`].
    pub fn koch() -> Result<Self, ModelError> {
        Ok(Self { reach: Reach::KOCH, ..Self::from_urdf(KOCH_URDF)? })
    }

    /// Reads an arm from the text of a URDF; its reach is taken to be the SO-101's.
    ///
    /// # Errors
    /// See [`ModelError`]: the text is no URDF, or describes something other than a serial chain of revolute
    /// joints with primitive shapes, positive masses and finite numbers.
    pub fn from_urdf(text: &str) -> Result<Self, ModelError> {
        let robot = urdf_rs::read_from_string(text)?;
        let base = base_link(&robot)?;
        let mut joints: Vec<JointModel> = Vec::new();
        let mut tip = None;
        for joint in &robot.joints {
            let parent = if joint.parent.link == base.name {
                None
            } else {
                Some(joints.iter().position(|j| j.link.name == joint.parent.link).ok_or_else(|| {
                    ModelError::Chain(format!(
                        "joint {} before the joint that moves its parent {}",
                        joint.name, joint.parent.link
                    ))
                })?)
            };
            let origin = pose(&joint.origin, &format!("joint {}", joint.name))?;
            match joint.joint_type {
                JointType::Revolute => {
                    if parent != joints.len().checked_sub(1) {
                        return Err(ModelError::Chain(format!("a branch at joint {}", joint.name)));
                    }
                    joints.push(revolute(joint, parent, origin, link(find(&robot, &joint.child.link)?)?)?);
                }
                JointType::Fixed => {
                    let child = find(&robot, &joint.child.link)?;
                    if child.inertial.mass.value != 0.0 || !child.collision.is_empty() {
                        return Err(ModelError::Fingertip(format!(
                            "joint {} to link {}, which has mass or shapes",
                            joint.name, child.name
                        )));
                    }
                    let Some(parent) = parent else {
                        return Err(ModelError::Fingertip(format!("joint {} on the base", joint.name)));
                    };
                    if tip.replace((origin, parent)).is_some() {
                        return Err(ModelError::Fingertip(format!("a second one, {}", joint.name)));
                    }
                }
                ref found => return Err(ModelError::Kind { joint: joint.name.clone(), found: found.clone() }),
            }
        }
        let (tip, tip_joint) = tip.ok_or_else(|| ModelError::Fingertip("none".to_owned()))?;
        if !(2..=MAX_JOINTS).contains(&joints.len()) {
            return Err(ModelError::JointCount(joints.len()));
        }
        let model = Self { name: robot.name, base, joints, tip, tip_joint, reach: Reach::SO101 };
        model.check_base_frame()?;
        Ok(model)
    }

    /// Pose of every joint's link in the base frame at the angles `position_rad`, from the base outwards; one for each angle given.
    pub fn link_poses(&self, position_rad: &[f64]) -> Vec<Isometry3<f64>> {
        let mut poses: Vec<Isometry3<f64>> = Vec::with_capacity(self.joints.len());
        for (joint, &angle) in self.joints.iter().zip(position_rad) {
            let parent = joint.parent.map_or_else(Isometry3::identity, |p| poses[p]);
            poses.push(parent * joint.origin * UnitQuaternion::from_axis_angle(&joint.axis, angle));
        }
        poses
    }

    /// Pose of the fingertip in the base frame at the angles `position_rad`, one a joint; the jaw's may be left out.
    pub fn tip_pose(&self, position_rad: &[f64]) -> Isometry3<f64> {
        self.link_poses(position_rad).get(self.tip_joint).map_or_else(Isometry3::identity, |hand| hand * self.tip)
    }

    /// Limits of each joint.
    pub fn limits(&self) -> Vec<JointLimits> {
        self.joints.iter().map(|joint| joint.limits).collect()
    }

    /// The base frame of this project has the first joint's axis as its z axis.
    fn check_base_frame(&self) -> Result<(), ModelError> {
        let first = &self.joints[0];
        let axis = first.origin.rotation * first.axis.into_inner();
        let offset = first.origin.translation.vector.xy().norm();
        if offset > 1e-6 || axis.xy().norm() > 1e-6 {
            let expected = "a vertical axis through the origin of the base frame";
            let found = format!("an axis along {:?} at {offset} m from it", axis.as_slice());
            return Err(value(format!("origin of joint {}", first.name), expected, found));
        }
        Ok(())
    }
}

/// The one link that is no joint's child.
fn base_link(robot: &urdf_rs::Robot) -> Result<LinkModel, ModelError> {
    for (i, a) in robot.links.iter().enumerate() {
        if robot.links[..i].iter().any(|b| b.name == a.name) {
            return Err(ModelError::Chain(format!("two links named {}", a.name)));
        }
        let parents = robot.joints.iter().filter(|j| j.child.link == a.name).count();
        if parents > 1 {
            return Err(ModelError::Chain(format!("{parents} joints that move link {}", a.name)));
        }
    }
    for (i, a) in robot.joints.iter().enumerate() {
        if robot.joints[..i].iter().any(|b| b.name == a.name) {
            return Err(ModelError::Chain(format!("two joints named {}", a.name)));
        }
    }
    let mut roots = robot.links.iter().filter(|l| robot.joints.iter().all(|j| j.child.link != l.name));
    match (roots.next(), roots.next()) {
        (Some(root), None) => link(root),
        (None, _) => Err(ModelError::Chain("no link that is free of a parent".to_owned())),
        (Some(a), Some(b)) => Err(ModelError::Chain(format!("unconnected links {} and {}", a.name, b.name))),
    }
}

fn find<'a>(robot: &'a urdf_rs::Robot, name: &str) -> Result<&'a urdf_rs::Link, ModelError> {
    robot.links.iter().find(|l| l.name == name).ok_or_else(|| ModelError::Chain(format!("no link named {name}")))
}

fn revolute(
    joint: &urdf_rs::Joint,
    parent: Option<usize>,
    origin: Isometry3<f64>,
    link: LinkModel,
) -> Result<JointModel, ModelError> {
    let name = joint.name.clone();
    if joint.mimic.is_some() {
        return Err(value(format!("joint {name}"), "a motor of its own", "a mimic element; remove it"));
    }
    let axis = Unit::try_new(vector(&joint.axis.xyz, &format!("axis of joint {name}"))?, 1e-9);
    let axis = axis.ok_or_else(|| value(format!("axis of joint {name}"), "a direction", "0 0 0"))?;
    let limit = &joint.limit;
    if !(limit.lower.is_finite() && limit.upper.is_finite() && limit.lower < limit.upper) {
        let found = format!("{} and {}", limit.lower, limit.upper);
        return Err(value(format!("limit of joint {name}"), "lower < upper", found));
    }
    let velocity = positive(limit.velocity, || format!("velocity limit of joint {name}"))?;
    let effort_nm = positive(limit.effort, || format!("effort limit of joint {name}"))?;
    let limits =
        JointLimits { lower_rad: limit.lower as f32, upper_rad: limit.upper as f32, velocity_rad_s: velocity as f32 };
    Ok(JointModel { name, parent, origin, axis, limits, effort_nm, link })
}

fn link(link: &urdf_rs::Link) -> Result<LinkModel, ModelError> {
    let name = link.name.clone();
    let inertial = &link.inertial;
    let mass_kg = positive(inertial.mass.value, || format!("mass of link {name}"))?;
    let frame = pose(&inertial.origin, &format!("inertial origin of link {name}"))?;
    let i = &inertial.inertia;
    let local = Matrix3::new(i.ixx, i.ixy, i.ixz, i.ixy, i.iyy, i.iyz, i.ixz, i.iyz, i.izz);
    let rotation = frame.rotation.to_rotation_matrix();
    let moments = local.symmetric_eigenvalues();
    // A body's largest principal moment is at most the sum of the other two.
    let possible = local.iter().all(|v| v.is_finite())
        && moments.iter().all(|&m| m > 0.0)
        && 2.0 * moments.max() <= moments.sum() * (1.0 + 1e-6);
    if !possible {
        let expected = "finite positive principal moments that obey the triangle inequality";
        return Err(value(format!("inertia of link {name}"), expected, format!("{:?}", moments.as_slice())));
    }
    let shapes = link.collision.iter().map(|c| shape(c, &name)).collect::<Result<_, _>>()?;
    let center = Point3::from(frame.translation.vector);
    Ok(LinkModel { mass_kg, center, inertia: rotation * local * rotation.transpose(), shapes, name })
}

fn shape(collision: &urdf_rs::Collision, link: &str) -> Result<(Isometry3<f64>, Shape), ModelError> {
    let size = |value: f64| positive(value, || format!("size of a shape of link {link}"));
    let shape = match &collision.geometry {
        Geometry::Box { size: s } => Shape::Cuboid(Vector3::new(size(s[0])?, size(s[1])?, size(s[2])?) / 2.0),
        Geometry::Cylinder { radius, length } => Shape::Cylinder(size(*radius)?, size(*length)? / 2.0),
        Geometry::Sphere { radius } => Shape::Ball(size(*radius)?),
        Geometry::Capsule { radius, length } => Shape::Capsule(size(*radius)?, size(*length)? / 2.0),
        Geometry::Mesh { filename, .. } => {
            let found = format!("the mesh {filename}; fit primitives to it");
            return Err(value(format!("shape of link {link}"), "a box, cylinder, sphere or capsule", found));
        }
    };
    Ok((pose(&collision.origin, &format!("shape of link {link}"))?, shape))
}

fn value(element: impl Into<String>, expected: &'static str, found: impl Into<String>) -> ModelError {
    ModelError::Value { element: element.into(), expected, found: found.into() }
}

fn positive(value: f64, element: impl Fn() -> String) -> Result<f64, ModelError> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(self::value(element(), "a finite number above 0", value.to_string()))
}

fn vector(v: &[f64; 3], element: &str) -> Result<Vector3<f64>, ModelError> {
    if v.iter().all(|x| x.is_finite()) {
        return Ok(Vector3::from(*v));
    }
    Err(value(element, "finite numbers", format!("{v:?}")))
}

/// URDF's fixed-axis roll, pitch, yaw.
fn pose(pose: &urdf_rs::Pose, element: &str) -> Result<Isometry3<f64>, ModelError> {
    let xyz = vector(&pose.xyz, element)?;
    let rpy = vector(&pose.rpy, element)?;
    Ok(Isometry3::from_parts(Translation3::from(xyz), UnitQuaternion::from_euler_angles(rpy.x, rpy.y, rpy.z)))
}

#[cfg(test)]
mod tests;
