//! Rigid bodies: the arm as a multibody on a table, and one object. The only place that knows Rapier.

use super::ObjectPose;
use crate::model::{ArmModel, LinkModel, Shape};
use crate::params::{ObjectShape, SimParams};
use crate::servo::Drive;
use nalgebra::Isometry3;
use rapier3d::prelude::*;

/// Length of a physics step, s.
const DT_S: f32 = crate::world::STEP_US as f32 * 1e-6;

/// Standard gravity, m/s².
const GRAVITY_M_S2: f32 = 9.80665;

/// Joint limits are checked this far ahead, rad: twice what the fastest joint travels in a step.
const LIMIT_MARGIN_RAD: f32 = 0.05;

/// Stiffness of the springs that stand for motors, N·m/rad. See [`Scene::set_drive`].
const CARRIER_STIFFNESS: f32 = 1e-6;

/// Rapier's axis of rotation of a revolute joint, as an index into its six coordinates.
const HINGE: usize = 3;

/// A multibody arm, a table and at most one object.
pub(super) struct Scene {
    gravity: Vector,
    integration: IntegrationParameters,
    pipeline: PhysicsPipeline,
    islands: IslandManager,
    broad_phase: DefaultBroadPhase,
    narrow_phase: NarrowPhase,
    bodies: RigidBodySet,
    colliders: ColliderSet,
    impulse_joints: ImpulseJointSet,
    multibody_joints: MultibodyJointSet,
    soft_bodies: SoftBodySet,
    ccd: CCDSolver,
    /// The multibody is found through any of its joints.
    arm: Option<MultibodyJointHandle>,
    limits: Vec<[f32; 2]>,
    object: Option<RigidBodyHandle>,
}

impl Scene {
    /// Builds the scene with the joints at `joints_rad` and, if asked for, the object at `object`.
    pub(super) fn new(model: &ArmModel, params: &SimParams, joints_rad: &[f64], object: Option<&ObjectPose>) -> Self {
        let mut scene = Self {
            gravity: Vector::new(0.0, 0.0, -GRAVITY_M_S2),
            integration: integration_parameters(),
            pipeline: PhysicsPipeline::new(),
            islands: IslandManager::new(),
            broad_phase: DefaultBroadPhase::default(),
            narrow_phase: NarrowPhase::new(),
            bodies: RigidBodySet::new(),
            colliders: ColliderSet::new(),
            impulse_joints: ImpulseJointSet::new(),
            multibody_joints: MultibodyJointSet::new(),
            soft_bodies: SoftBodySet::new(),
            ccd: CCDSolver::new(),
            arm: None,
            limits: model.joints.iter().map(|j| [j.limits.lower_rad, j.limits.upper_rad]).collect(),
            object: None,
        };
        let friction = PairFrictions::new(params);
        scene.add_table(friction.table);
        scene.add_arm(model, params, joints_rad, friction.arm);
        if let Some(pose) = object {
            scene.add_object(params, pose, friction.object);
        }
        scene
    }

    /// The table twice: a half-space under the object, because its contacts are cheap, and a block under the arm,
    /// because links that are far above it then fall out in the broad phase.
    fn add_table(&mut self, friction: f32) {
        let plane = SharedShape::halfspace(Vector::Z);
        self.colliders.insert(collider(plane, friction, groups(Group::GROUP_1, Group::GROUP_3)));
        let block = SharedShape::cuboid(TABLE_HALF_M, TABLE_HALF_M, TABLE_HALF_M);
        let below = Vector::Z * -TABLE_HALF_M;
        self.colliders.insert(collider(block, friction, groups(Group::GROUP_1, Group::GROUP_2)).translation(below));
    }

    fn add_arm(&mut self, model: &ArmModel, params: &SimParams, joints_rad: &[f64], friction: f32) {
        let base = self.add_link(RigidBodyBuilder::fixed(), &model.base, &Isometry3::identity(), friction);
        let mut links: Vec<RigidBodyHandle> = Vec::with_capacity(model.joints.len());
        for (joint, pose) in model.joints.iter().zip(model.link_poses(joints_rad)) {
            let parent = joint.parent.map_or(base, |p| links[p]);
            let link = self.add_link(RigidBodyBuilder::dynamic().can_sleep(false), &joint.link, &pose, friction);
            // Rapier turns revolute joints about the x axis of their frames.
            let to_axis = Rotation::from_rotation_arc(Vector::X, vector(&joint.axis));
            let mut data: GenericJoint = RevoluteJointBuilder::new(Vector::X).build().into();
            data.local_frame1 = rapier_pose(&joint.origin) * Pose::from_rotation(to_axis);
            data.local_frame2 = Pose::from_rotation(to_axis);
            data.limits[HINGE].min = joint.limits.lower_rad;
            data.limits[HINGE].max = joint.limits.upper_rad;
            self.arm = self.multibody_joints.insert(parent, link, data, true);
            links.push(link);
        }
        let Some((arm, _)) = self.arm.and_then(|handle| self.multibody_joints.get_mut(handle)) else { return };
        arm.set_self_contacts_enabled(false);
        // The base still counts as free here; this fixes it and its six coordinates are gone.
        arm.forward_kinematics(&self.bodies, true);
        let displacements: Vec<f32> = joints_rad.iter().map(|&q| q as f32).collect();
        arm.apply_displacements(&displacements);
        arm.forward_kinematics(&self.bodies, true);
        arm.update_rigid_bodies(&mut self.bodies, true);
        for (index, armature) in arm.armature_mut().iter_mut().enumerate() {
            *armature = params.motor_of(index).armature_kgm2 as f32;
        }
        arm.damping_mut().fill(0.0);
        for (friction, servo) in arm.frictions_mut().iter_mut().zip(&params.servos) {
            *friction = servo.friction_nm as f32;
        }
    }

    fn add_link(
        &mut self,
        body: RigidBodyBuilder,
        link: &LinkModel,
        pose: &Isometry3<f64>,
        friction: f32,
    ) -> RigidBodyHandle {
        let inertia = link.inertia.map(|v| v as f32);
        let inertia = Matrix::from_cols_array(&inertia.as_slice().try_into().unwrap_or_default());
        let mass = MassProperties::with_inertia_matrix(vector(&link.center.coords), link.mass_kg as f32, inertia);
        let handle = self.bodies.insert(body.pose(rapier_pose(pose)).additional_mass_properties(mass));
        for (pose, shape) in &link.shapes {
            let (shape, turn) = rapier_shape(shape);
            let shape = collider(shape, friction, ARM).position(rapier_pose(pose) * turn);
            self.colliders.insert_with_parent(shape, handle, &mut self.bodies);
        }
        handle
    }

    fn add_object(&mut self, params: &SimParams, pose: &ObjectPose, friction: f32) {
        let body = RigidBodyBuilder::dynamic().can_sleep(false);
        let handle = self.bodies.insert(body);
        let object = &params.object;
        let (shape, turn) = rapier_shape(&match object.shape {
            ObjectShape::Cylinder { radius_m, height_m } => Shape::Cylinder(radius_m, height_m / 2.0),
            ObjectShape::Cube { edge_m } => Shape::Cuboid(nalgebra::Vector3::repeat(edge_m / 2.0)),
        });
        let shape = collider(shape, friction, OBJECT).position(turn).mass(object.mass_kg as f32);
        self.colliders.insert_with_parent(shape, handle, &mut self.bodies);
        self.object = Some(handle);
        self.set_object(pose);
    }

    /// Applies `drive` to joint `index` during the next step.
    ///
    /// Rapier's own motors cost a constraint each. A torque and a damping that are constant over a step need none:
    /// the damping is the multibody's, and the torque is that of a spring so soft and so far away that the joint's
    /// travel does not change it.
    pub(super) fn set_drive(&mut self, index: usize, drive: Drive) {
        let Some((arm, _)) = self.arm.and_then(|handle| self.multibody_joints.get_mut(handle)) else { return };
        if let Some(damping) = arm.damping_mut().get_mut(index) {
            *damping = drive.damping as f32;
        }
        // Link 0 is the base.
        let Some(link) = arm.link_mut(index + 1) else { return };
        link.joint.set_spring(HINGE, CARRIER_STIFFNESS, drive.torque_nm as f32 / CARRIER_STIFFNESS);
        // A limit costs a constraint even where it is far away.
        let [lower, upper] = self.limits[index];
        let angle = link.joint.coords()[HINGE];
        let near = angle < lower + LIMIT_MARGIN_RAD || angle > upper - LIMIT_MARGIN_RAD;
        link.joint.data.limit_axes = if near { JointAxesMask::ANG_X } else { JointAxesMask::empty() };
    }

    /// Advances by [`crate::world::STEP_US`].
    pub(super) fn step(&mut self) {
        self.pipeline.step(
            self.gravity,
            &self.integration,
            &mut self.islands,
            &mut self.broad_phase,
            &mut self.narrow_phase,
            &mut self.bodies,
            &mut self.colliders,
            &mut self.impulse_joints,
            &mut self.multibody_joints,
            &mut self.soft_bodies,
            &mut self.ccd,
            &(),
            &(),
        );
    }

    /// Writes angle and speed of each joint.
    pub(super) fn read_joints(&self, position_rad: &mut [f64], velocity_rad_s: &mut [f64]) {
        let Some((arm, _)) = self.arm.and_then(|handle| self.multibody_joints.get(handle)) else { return };
        let speeds = arm.generalized_velocity();
        for (i, link) in arm.links().skip(1).enumerate() {
            position_rad[i] = f64::from(link.joint().coords()[HINGE]);
            velocity_rad_s[i] = f64::from(speeds[i]);
        }
    }

    /// Pose of the link that joint `index` moves.
    pub(super) fn link_pose(&self, index: usize) -> Option<Isometry3<f64>> {
        let (arm, _) = self.multibody_joints.get(self.arm?)?;
        Some(our_pose(arm.link(index + 1)?.local_to_world()))
    }

    pub(super) fn object(&self) -> Option<ObjectPose> {
        let body = self.bodies.get(self.object?)?;
        let (rotation, translation) = (body.rotation(), body.translation());
        Some(ObjectPose {
            position: translation.to_array().map(f64::from),
            orientation: rotation.to_array().map(f64::from),
            linear_velocity: body.linvel().to_array().map(f64::from),
            angular_velocity: body.angvel().to_array().map(f64::from),
        })
    }

    pub(super) fn set_object(&mut self, pose: &ObjectPose) {
        let Some(body) = self.object.and_then(|handle| self.bodies.get_mut(handle)) else { return };
        let position = Vector::from_array(pose.position.map(|v| v as f32));
        let orientation = Rotation::from_array(pose.orientation.map(|v| v as f32)).normalize();
        body.set_position(Pose::from_parts(position, orientation), true);
        body.set_linvel(Vector::from_array(pose.linear_velocity.map(|v| v as f32)), true);
        body.set_angvel(Vector::from_array(pose.angular_velocity.map(|v| v as f32)), true);
    }
}

/// Rapier's defaults are for games; with these its sag, sliding and stiction agree with MuJoCo's.
fn integration_parameters() -> IntegrationParameters {
    let softness = SpringCoefficients::new(120.0, 1.0);
    IntegrationParameters {
        dt: DT_S,
        num_solver_iterations: 1,
        num_internal_pgs_iterations: 4,
        max_ccd_substeps: 0,
        contact_softness: softness,
        static_contact_softness: softness,
        normalized_prediction_distance: 0.002,
        contact_recycling: false,
        friction_model: FrictionModel::Simplified,
        ..IntegrationParameters::default()
    }
}

/// Coefficients a collider whose products are the wanted coefficients of the three pairs.
struct PairFrictions {
    table: f32,
    arm: f32,
    object: f32,
}

impl PairFrictions {
    fn new(params: &SimParams) -> Self {
        let table_arm = params.table_finger_friction;
        let table_object = params.object.table_friction;
        let arm_object = params.object.finger_friction;
        Self {
            table: (table_arm * table_object / arm_object).sqrt() as f32,
            arm: (table_arm * arm_object / table_object).sqrt() as f32,
            object: (table_object * arm_object / table_arm).sqrt() as f32,
        }
    }
}

/// Half an edge of the block that is the table to the arm, m: beyond any arm's reach.
const TABLE_HALF_M: f32 = 2.0;

// Group 1 is the table.
const ARM: InteractionGroups = groups(Group::GROUP_2, Group::GROUP_1.union(Group::GROUP_3));
const OBJECT: InteractionGroups = groups(Group::GROUP_3, Group::GROUP_1.union(Group::GROUP_2));

const fn groups(own: Group, others: Group) -> InteractionGroups {
    InteractionGroups::new(own, others, InteractionTestMode::And)
}

fn collider(shape: SharedShape, friction: f32, groups: InteractionGroups) -> ColliderBuilder {
    ColliderBuilder::new(shape)
        .density(0.0)
        .friction(friction)
        .friction_combine_rule(CoefficientCombineRule::Multiply)
        .collision_groups(groups)
}

/// The shape and the turn that brings its axis to z; Parry's cylinders and capsules stand on y.
fn rapier_shape(shape: &Shape) -> (SharedShape, Pose) {
    let upright = Pose::rotation(Vector::X * std::f32::consts::FRAC_PI_2);
    match *shape {
        Shape::Cuboid(half) => (SharedShape::cuboid(half.x as f32, half.y as f32, half.z as f32), Pose::identity()),
        Shape::Cylinder(radius, half) => (SharedShape::cylinder(half as f32, radius as f32), upright),
        Shape::Ball(radius) => (SharedShape::ball(radius as f32), Pose::identity()),
        Shape::Capsule(radius, half) => (SharedShape::capsule_y(half as f32, radius as f32), upright),
    }
}

fn vector(v: &nalgebra::Vector3<f64>) -> Vector {
    Vector::new(v.x as f32, v.y as f32, v.z as f32)
}

fn rapier_pose(pose: &Isometry3<f64>) -> Pose {
    let q = pose.rotation.coords;
    let rotation = Rotation::from_xyzw(q.x as f32, q.y as f32, q.z as f32, q.w as f32).normalize();
    Pose::from_parts(vector(&pose.translation.vector), rotation)
}

fn our_pose(pose: &Pose) -> Isometry3<f64> {
    let [x, y, z, w] = pose.rotation.to_array().map(f64::from);
    let translation = nalgebra::Vector3::from(pose.translation.to_array().map(f64::from));
    let rotation = nalgebra::UnitQuaternion::new_normalize(nalgebra::Quaternion::new(w, x, y, z));
    Isometry3::from_parts(translation.into(), rotation)
}
