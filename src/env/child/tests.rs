//! Children that behave, and children that do not.

use super::*;

fn spec(command: &str) -> ChildSpec {
    ChildSpec::Exec(command.into())
}

fn refusal(command: &str) -> String {
    let Err(error) = child_many(&spec(command), 1) else { panic!("{command} was taken for an environment") };
    error.to_string()
}

/// A welcome for 1 observation, 1 goal and 2 actions, radius 0.5.
const WELCOME: &str =
    r"printf '\025\000\000\000\201\001\000\000\000\001\000\000\000\001\000\000\000\002\000\000\000\000\000\000\077'";
/// The state 1, 0, 0.25.
const STATE: &str = r"printf '\015\000\000\000\202\000\000\200\077\000\000\000\000\000\000\200\076'";
/// The same after a step that was the last, at the goal.
const STEPPED: &str = r"printf '\016\000\000\000\203\006\000\000\200\077\000\000\000\000\000\000\200\076'";

fn child(script: &str) -> Box<dyn GoalEnv> {
    child_many(&spec(script), 1).unwrap().remove(0)
}

#[test]
fn a_child_that_keeps_to_the_protocol_is_an_environment() {
    // Each `head` eats one question: hello 13 bytes, reset 17, step 17.
    let mut env =
        child(&format!("head -c 13 >&2; {WELCOME}; head -c 17 >&2; {STATE}; head -c 17 >&2; {STEPPED}; cat >&2"));
    assert_eq!(env.layout(), Layout { observation: 1, goal: 1, action: 2 });
    let (mut seen, mut outcome) = (GoalObservation::default(), Outcome::default());
    env.reset(7, &mut seen).unwrap();
    assert_eq!((seen.observation[0], seen.achieved_goal[0], seen.desired_goal[0]), (1.0, 0.0, 0.25));
    env.step(&[0.5, -0.5], &mut seen, &mut outcome).unwrap();
    assert_eq!((outcome.reward, outcome.terminated, outcome.truncated, outcome.success), (0.0, false, true, true));
    assert_eq!(outcome.applied, [0.5, -0.5]);
    assert_eq!(env.compute_reward(&[0.0], &[0.51]), -1.0);
}

#[test]
fn a_child_that_crashes_is_reported_with_its_last_words() {
    let said = refusal("echo no such simulator >&2; exit 3");
    assert!(said.contains("exit status: 3") && said.contains("| no such simulator"), "{said}");
    let mut env = child(&format!("head -c 13 >&2; {WELCOME}; echo out of memory >&2; exit 9"));
    let error = env.reset(0, &mut GoalObservation::default()).unwrap_err().to_string();
    assert!(error.contains("exit status: 9") && error.contains("out of memory"), "{error}");
    // And again, without waiting for what will never come.
    assert!(env.reset(0, &mut GoalObservation::default()).is_err());
}

#[test]
fn a_child_that_babbles_is_refused() {
    assert!(refusal("yes").contains("expected 1 to 1048576"));
    assert!(refusal(r"printf '\001\000\000\000\007'; cat >&2").contains("unknown kind 7"));
    assert!(refusal(&format!("{STATE}; cat >&2")).contains("its observation has 12 bytes"));
    assert!(refusal(r"printf '\006\000\000\000\377sorry'; cat >&2").contains("it says: sorry"));
}

#[test]
fn a_silent_child_is_given_up_and_ended() {
    let mut process = Process::start(&spec("cat >&2; :")).unwrap();
    process.ask(&Question::Hello { envs: 1 }).unwrap();
    let error = process.answer(Duration::from_millis(50), Hello::default()).unwrap_err().to_string();
    assert!(error.contains("it was silent"), "{error}");
}

#[test]
fn a_missing_interpreter_and_a_misspelt_environment_are_named() {
    assert!(refusal("exec no-such-program-anywhere").contains("ended early"));
    let error = "fetch".parse::<ChildSpec>().unwrap_err().to_string();
    assert!(error.contains("gymnasium:FetchPush-v4"), "{error}");
}

#[test]
fn the_gymnasium_server_says_what_it_misses() {
    // Without a Python that has the packages the error names the remedy; with one, the environment does not exist.
    let Err(error) = child_many(&ChildSpec::Gymnasium("NoSuchEnvironment-v0".into()), 1) else {
        panic!("an environment that does not exist was found")
    };
    assert!(error.to_string().contains("HINDSIGHT_PYTHON"), "{error}");
}
