//! The command line.

/// What the command line asks for.
pub(crate) struct Asked {
    pub(crate) routers: usize,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    pub(crate) max_links: Option<usize>,
    pub(crate) placed: bool,
    pub(crate) wired: bool,
    pub(crate) together: bool,
    /// Wires' delays have nothing to do with places.
    pub(crate) hashed: bool,
    pub(crate) stages: Vec<String>,
}

impl Asked {
    pub(crate) fn read() -> Option<Self> {
        let mut asked = Self {
            routers: 10_000,
            seed: 1,
            threads: 2,
            max_links: None,
            placed: false,
            wired: false,
            together: false,
            hashed: false,
            stages: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next()?.replace(['_', ','], "").parse::<u64>().ok();
            match arg.as_str() {
                "--routers" => asked.routers = (number()? as usize).max(10),
                "--seed" => asked.seed = number()?,
                "--threads" => asked.threads = number()? as usize,
                "--max-links" => asked.max_links = Some(number()? as usize),
                "--placed" => asked.placed = true,
                "--wired" => asked.wired = true,
                "--together" => asked.together = true,
                "--hashed" => asked.hashed = true,
                "join" | "delta" | "stretch" | "steady" | "checks" | "faults" | "spread" | "heal"
                | "kill" | "all" => {
                    asked.stages.push(arg);
                }
                _ => return None,
            }
        }
        Some(asked)
    }
}
