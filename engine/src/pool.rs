//! The threads that multiply matrices: they take small pieces, soon sleep where they have to wait, and nobody waits for a thread
//! that has not begun.
//!
//! On a busy machine a thread may lose its processor at any moment. A barrier of all threads would then stand still; here
//! whoever runs takes the next piece, the job ends when its pieces are done, and only threads in the middle of a piece are
//! waited for.
//!
//! Each thread goes through a stretch of its own from its beginning, so that it reads memory as one stream; who is through
//! helps the others at their ends. Two threads that took turns at the pieces of one row read a fifth more slowly.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

/// How often a thread looks before it sleeps, some 50 µs: longer than the pause between two products of a token. It never gives
/// its processor away otherwise: who does that on a busy machine comes back after milliseconds, who sleeps when it is woken.
const LOOKS: u32 = 3_000;

/// What is left of a thread's stretch of pieces: its beginning in the lower half, its end in the upper.
struct Stretch(AtomicU64);

impl Stretch {
    fn new(range: Range<u32>) -> Self {
        Self(AtomicU64::new(pack(range)))
    }

    /// Takes what `part` says of what is left.
    fn take(&self, part: impl Fn(&Range<u32>) -> (Range<u32>, Range<u32>)) -> Option<Range<usize>> {
        let smaller = |left: u64| Some(unpack(left)).filter(|left| !left.is_empty()).map(|left| pack(part(&left).1));
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, smaller).ok()?;
        let taken = part(&unpack(left)).0;
        Some(taken.start as usize..taken.end as usize)
    }

    /// The next `chunk` pieces, for the thread whose stretch this is.
    fn first(&self, chunk: u32) -> Option<Range<usize>> {
        self.take(|left| {
            let middle = left.start.saturating_add(chunk).min(left.end);
            (left.start..middle, middle..left.end)
        })
    }

    /// The last `chunk` pieces or fewer, for the others.
    fn last(&self, chunk: u32) -> Option<Range<usize>> {
        self.take(|left| {
            let middle = left.start + (left.end - left.start - 1) / chunk * chunk;
            (middle..left.end, left.start..middle)
        })
    }
}

fn pack(range: Range<u32>) -> u64 {
    u64::from(range.end) << 32 | u64::from(range.start)
}

fn unpack(packed: u64) -> Range<u32> {
    packed as u32..(packed >> 32) as u32
}

/// The stretches of so many threads, cut between chunks.
fn stretches(count: u32, chunk: u32, threads: usize) -> Vec<Stretch> {
    let chunks = u64::from(count.div_ceil(chunk));
    let cut = |thread: usize| {
        let whole = chunks * thread as u64 / threads as u64 * u64::from(chunk);
        u32::try_from(whole).unwrap_or(count).min(count)
    };
    (0..threads).map(|thread| Stretch::new(cut(thread)..cut(thread + 1))).collect()
}

/// A job as its threads see it.
struct Job {
    /// Called with a range of pieces; `'static` is not true, see [`Pool::each`].
    work: &'static (dyn Fn(Range<usize>) + Sync),
    stretches: Vec<Stretch>,
    count: usize,
    chunk: u32,
    done: AtomicUsize,
    panicked: AtomicUsize,
}

impl Job {
    /// The next pieces for a thread: of its own stretch, else of another's.
    fn take(&self, thread: usize) -> Option<Range<usize>> {
        let (before, from) = self.stretches.split_at(thread.min(self.stretches.len()));
        let own = from.first().and_then(|own| own.first(self.chunk));
        own.or_else(|| from.iter().skip(1).chain(before).find_map(|other| other.last(self.chunk)))
    }

    /// Takes chunks until none is left; whether the last of all was done here.
    fn help(&self, thread: usize) -> bool {
        let mut last = false;
        while let Some(range) = self.take(thread) {
            let count = range.len();
            let work = std::panic::AssertUnwindSafe(|| (self.work)(range));
            if std::panic::catch_unwind(work).is_err() {
                self.panicked.fetch_add(1, Ordering::Relaxed);
            }
            last = self.done.fetch_add(count, Ordering::AcqRel) + count == self.count;
        }
        last
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.count
    }
}

#[derive(Default)]
struct Shared {
    current: Mutex<Current>,
    /// How many jobs there have been, to look at without the lock; changed with it.
    number: AtomicUsize,
    news: Condvar,
    finished: Condvar,
}

#[derive(Default)]
struct Current {
    /// The job of the moment.
    job: Option<Arc<Job>>,
    /// Threads that must be woken for the next.
    asleep: usize,
    /// Whether the caller must be woken when it is done.
    waiting: bool,
}

/// A number of threads, the caller's included.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    /// One job at a time; who comes second works alone.
    busy: Mutex<()>,
}

impl Pool {
    /// Starts `threads - 1` threads, which end with the process. If one cannot be started, there are fewer.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut started = 1;
        for index in 1..threads {
            let shared = Arc::clone(&shared);
            let name = format!("product-{index}");
            if thread::Builder::new().name(name).spawn(move || serve(&shared, index)).is_ok() {
                started += 1;
            }
        }
        Self { shared, threads: started, busy: Mutex::new(()) }
    }

    /// The pool of this process, with the threads that [`crate::threads::in_use`] says.
    pub(crate) fn of_process() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| Pool::new(crate::threads::in_use()))
    }

    /// Calls `work` with ranges of at most `chunk` that together are `0..count`, on all threads, and returns when all
    /// calls have.
    ///
    /// # Panics
    /// When one of the calls did.
    pub(crate) fn each(&self, count: usize, chunk: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        let chunk = chunk.max(1);
        let alone = || (0..count).step_by(chunk).for_each(|start| work(start..(start + chunk).min(count)));
        let Ok(_guard) = self.busy.try_lock() else { return alone() };
        let (Ok(pieces), Ok(chunk)) = (u32::try_from(count), u32::try_from(chunk)) else {
            return alone();
        };
        if self.threads == 1 || pieces <= chunk {
            return alone();
        }
        // SAFETY: the reference is used only in calls that are counted in `done` when they return, and this function
        // does not return before all are; a thread that comes later finds no chunk left and calls nothing.
        let work = unsafe { std::mem::transmute::<&(dyn Fn(Range<usize>) + Sync), &'static (dyn Fn(Range<usize>) + Sync)>(work) };
        let (done, panicked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let job = Arc::new(Job { work, stretches: stretches(pieces, chunk, self.threads), count, chunk, done, panicked });
        let asleep = {
            let mut current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.job = Some(Arc::clone(&job));
            self.shared.number.fetch_add(1, Ordering::Release);
            current.asleep
        };
        if asleep > 0 {
            self.shared.news.notify_all();
        }
        job.help(0);
        look_for(|| job.is_done());
        if !job.is_done() {
            let mut current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.waiting = true;
            while !job.is_done() {
                current = self.shared.finished.wait(current).unwrap_or_else(PoisonError::into_inner);
            }
            current.waiting = false;
        }
        assert_eq!(job.panicked.load(Ordering::Relaxed), 0, "a part of a matrix product panicked");
    }
}

/// The beginning of items that threads take one by one.
struct Items<T>(*mut T);

// SAFETY: each item is given to one call only, so that it suffices that items may go to other threads.
unsafe impl<T: Send> Sync for Items<T> {}

impl Pool {
    /// Calls `work` once with each item and its number, on all threads, `chunk` items at a time.
    ///
    /// # Panics
    /// When one of the calls did.
    pub(crate) fn each_mut<T: Send>(&self, items: &mut [T], chunk: usize, work: &(dyn Fn(usize, &mut T) + Sync)) {
        let (count, first) = (items.len(), Items(items.as_mut_ptr()));
        let first = &first;
        self.each(count, chunk, &|range| {
            for index in range {
                // SAFETY: the index is below the count, and `each` gives out each index once while `items` is borrowed.
                work(index, unsafe { &mut *first.0.add(index) });
            }
        });
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// Looks until something has come or it is time to sleep.
fn look_for(come: impl Fn() -> bool) {
    let mut looks = 0;
    while looks < LOOKS && !come() {
        looks += 1;
        std::hint::spin_loop();
    }
}

fn serve(shared: &Shared, thread: usize) {
    let mut seen = 0;
    loop {
        look_for(|| shared.number.load(Ordering::Acquire) != seen);
        let mut current = shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        while shared.number.load(Ordering::Acquire) == seen {
            current.asleep += 1;
            current = shared.news.wait(current).unwrap_or_else(PoisonError::into_inner);
            current.asleep -= 1;
        }
        seen = shared.number.load(Ordering::Acquire);
        let job = current.job.clone();
        drop(current);
        if let Some(job) = job
            && job.help(thread)
            && shared.current.lock().unwrap_or_else(PoisonError::into_inner).waiting
        {
            shared.finished.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_through_its_stretch_and_then_helps_at_the_ends_of_others() {
        let zero = || AtomicUsize::new(0);
        let job = Job { work: &|_| {}, stretches: stretches(23, 2, 3), count: 23, chunk: 2, done: zero(), panicked: zero() };
        let taken: Vec<_> = (0..5).map(|_| job.take(1).unwrap()).collect();
        assert_eq!(taken, [8..10, 10..12, 12..14, 14..16, 22..23]);
        assert_eq!(job.take(0), Some(0..2));
        assert_eq!([1, 1, 1, 1, 1, 1].map(|thread| job.take(thread).unwrap()), [20..22, 18..20, 16..18, 6..8, 4..6, 2..4]);
        assert_eq!((job.take(0), job.take(2), job.take(9)), (None, None, None));
    }

    #[test]
    fn every_piece_is_done_once_however_many_threads_and_callers() {
        let pool = Pool::new(3);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for count in 0..300 {
                        let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                        pool.each(count, 7, &|range| {
                            range.for_each(|i| {
                                done[i].fetch_add(1, Ordering::Relaxed);
                            })
                        });
                        assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{count}");
                    }
                });
            }
        });
    }

    #[test]
    fn every_item_is_changed_once() {
        let pool = Pool::new(3);
        for count in 0..100 {
            let mut items = vec![1; count];
            pool.each_mut(&mut items, 3, &|index, item| *item += index);
            assert!(items.into_iter().eq(1..=count), "{count}");
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(2);
        let bad = std::panic::AssertUnwindSafe(|| pool.each(100, 1, &|range| assert!(range.start != 50)));
        assert!(std::panic::catch_unwind(bad).is_err());
        let sum = AtomicUsize::new(0);
        pool.each(100, 3, &|range| {
            sum.fetch_add(range.len(), Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 100);
    }
}
