//! Programs: started inside a namespace, ended in time, their output kept.

use fastpath::NetNs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The binary under test.
pub const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// Longest time that a program may run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// What became of a program.
#[derive(Debug)]
pub struct Outcome {
    pub command: String,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// Standard output of a program that must have succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }

    /// Standard error of a program that must have failed with `code`.
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.err.trim().is_empty(), "fails without a word: {self:#?}");
        self.err
    }
}

/// True, and said, if one of these programs is not installed. In continuous integration that is a failure.
pub fn lacks(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    let is_there = |program: &&&str| folders.iter().any(|folder| folder.join(program).exists());
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return false;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{missing:?} are not installed, and CI is set"
    );
    println!("skipped: needs {missing:?}");
    true
}

/// Runs `weft` without any of the environment's settings.
pub fn weft(args: &[&str]) -> Outcome {
    run(weft_command(args), "")
}

/// `weft` with `args`, deaf to the settings of whoever runs the tests.
pub fn weft_command(args: &[&str]) -> Command {
    let mut command = Command::new(WEFT);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEFT_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// Runs a program, gives it `input`, and waits for its end.
pub fn run(mut command: Command, input: &str) -> Outcome {
    let text = format!("{command:?}");
    let child = piped(&mut command).spawn();
    finish(
        child.unwrap_or_else(|error| panic!("{text}: {error}")),
        text,
        input,
    )
}

/// Runs a program inside a namespace, gives it `input`, and waits for its end.
pub fn run_command_in(netns: &NetNs, mut command: Command, input: &str) -> Outcome {
    piped(&mut command);
    let text = format!("{command:?}");
    let child = netns
        .spawn(command)
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    finish(child, text, input)
}

/// Runs a program inside a namespace and waits for its end.
pub fn run_in(netns: &NetNs, program: &str, args: &[&str]) -> Outcome {
    let (child, text) = start(netns, program, args);
    finish(child, text, "")
}

/// Starts a program inside a namespace; returns its command line too.
pub fn start(netns: &NetNs, program: &str, args: &[&str]) -> (Child, String) {
    let mut command = Command::new(program);
    piped(&mut command).args(args);
    let text = format!("{command:?}");
    let child = netns
        .spawn(command)
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    (child, text)
}

fn piped(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

/// Waits for a program's end and gathers what it said.
pub fn finish(mut child: Child, command: String, input: &str) -> Outcome {
    let mut stdin = child.stdin.take().unwrap();
    // Fails when the program ends without reading, which is its right.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let (out, err) = (gather(child.stdout.take()), gather(child.stderr.take()));
    let status = wait(&mut child, PATIENCE);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let outcome = Outcome {
        command,
        code: status.and_then(|status| status.code()),
        out: out.join().unwrap(),
        err: err.join().unwrap(),
    };
    assert!(status.is_some(), "took longer than {PATIENCE:?}: {outcome:#?}");
    outcome
}

/// The exit status, if the process ends within `time`.
pub fn wait(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn gather(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.unwrap().read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Polls until `probe` yields something, and tells how long that took. Panics after `time`.
pub fn until<T>(what: &str, time: Duration, mut probe: impl FnMut() -> Option<T>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return (found, start.elapsed());
        }
        assert!(start.elapsed() < time, "not within {time:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
