//! The tasks of a world, polled in order on one thread. Invariant: nothing runs but what was woken,
//! and everything that was woken runs before the next draw.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

/// A future of a task.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

struct Task<T> {
    owner: usize,
    work: Work<T>,
    flag: Arc<Flag>,
    waker: Waker,
}

/// Every task of every instance.
pub struct Tasks<T> {
    tasks: Vec<Task<T>>,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Self { tasks: Vec::new() }
    }
}

impl<T> Tasks<T> {
    /// Begins a task of `owner`.
    pub fn spawn(&mut self, owner: usize, work: Work<T>) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        self.tasks.push(Task { owner, work, flag, waker });
    }

    /// Ends every task of `owner`, wherever it stands.
    pub fn kill(&mut self, owner: usize) {
        self.tasks.retain(|task| task.owner != owner);
    }

    /// Runs what was woken until everything waits; what has ended, with its owner.
    pub fn run(&mut self) -> Vec<(usize, T)> {
        let mut ended = Vec::new();
        let mut index = 0;
        while index < self.tasks.len() {
            let task = &mut self.tasks[index];
            if !task.flag.0.swap(false, SeqCst) {
                index += 1;
                continue;
            }
            if let Poll::Ready(output) =
                task.work.as_mut().poll(&mut Context::from_waker(&task.waker))
            {
                ended.push((task.owner, output));
                drop(self.tasks.remove(index));
            }
            index = 0; // it may have woken one before it
        }
        ended
    }
}

impl<T> fmt::Debug for Tasks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks", self.tasks.len())
    }
}
