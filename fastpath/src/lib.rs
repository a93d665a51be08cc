//! Everything of Weft that programs the kernel, with nothing but system calls: no program is ever run.
//!
//! The way through it, for one change of the attachments:
//!
//! 1. [`plan::Desired`] says what there should be: one bridge, one TAP device in it, one pair per container.
//! 2. [`Kernel::observe`] reads what there is ([`observe::Observed`]) by netlink, in the
//!    host's namespace and in each container's ([`netns`]).
//! 3. [`plan::plan`], a pure function, gives the steps between the two.
//! 4. [`Kernel::apply`] does them: [`apply::Linux`] for real, [`fake::FakeKernel`] in
//!    memory. [`kernel::converge`] repeats 2 to 4 until nothing is left.
//! 5. [`watch`] tells when somebody else changed something, and it starts again at 2.
//!
//! With a fast path, frames for other hosts need not pass the router: the programs of [`vxlan`] carry them, and
//! [`mod@overlay`] decides for each router which way its frames take.
//!
//! Where frames are to be encrypted, [`mod@esp`] has the kernel do it on the fast path as well.
//!
//! Frames pass between the bridge and the router through the [`tap`]. [`guard`] keeps containers from speaking in
//! another's name, and everything of the host from answering them. [`underlay`] knows the host's own addresses.
//! [`mod@wire`] and [`user`] make whole networks of namespaces for the demo and for tests.

pub mod apply;
pub mod esp;
pub mod fake;
mod fast;
mod gateway;
mod groups;
pub mod guard;
pub mod kernel;
mod loaded;
pub mod model;
pub mod names;
pub mod netlink;
pub mod netns;
pub mod observe;
mod op;
pub mod overlay;
mod plain;
pub mod plan;
mod read;
pub mod steer;
mod sys;
mod sysctl;
pub mod tap;
pub mod underlay;
pub mod user;
pub mod vxlan;
pub mod watch;
pub mod wire;

pub use apply::{Linux, remove_all};
pub use gateway::Gateway;
pub use kernel::{Kernel, KernelError, Report, converge};
pub use netns::{NetNs, NetNsRef};
pub use plan::{Attachment, Desired, Fast, Handed, Limit, Limits};
pub use tap::Tap;
