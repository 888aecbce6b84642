// A mixed load for as long as one likes: tasks of all kinds, cancelled, retried, timed out, mapped, limited, dropped; programs;
// executors that come and go. At the end everything is accounted for.
//
//   soak [minutes] [seed]
#include <cohort/cohort.hpp>
#include <cohort/detail/frame_memory.hpp>  // for live_frames

#include <unistd.h>

#include <algorithm>  // for max
#include <atomic>     // for atomic
#include <chrono>     // for steady_clock
#include <csignal>    // for signal
#include <cstddef>    // for size_t
#include <cstdint>    // for uint64_t
#include <cstdio>     // for printf
#include <cstdlib>    // for strtod
#include <exception>  // for exception_ptr
#include <fstream>    // for ifstream
#include <optional>   // for optional
#include <random>     // for mt19937_64
#include <stdexcept>  // for runtime_error
#include <string>     // for string
#include <thread>     // for jthread
#include <utility>    // for move
#include <vector>     // for vector

using namespace cohort;
using namespace std::chrono_literals;

namespace {

// Sanitizers keep for a while what is given back.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool sanitized = false;
#endif

using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What has been done, by all threads.
struct Books {
  std::atomic<std::uint64_t> executors{0}, accepted{0}, refused{0}, values{0}, failures{0}, cancellations{0},
      timeouts{0}, dropped{0}, callbacks_added{0}, callbacks_called{0}, map_results{0}, programs{0}, functions{0},
      retries{0};
  std::atomic<std::uint64_t> submitted{0}, succeeded{0}, failed{0}, cancelled{0};  // as the executors say
  std::atomic<int> alive{0};                                                       // objects in tasks and results
  std::atomic<int> wrong{0};
} books;

void blame(const char* what) {
  ++books.wrong;
  std::fprintf(stderr, "soak: %s\n", what);
}

/// Counts its instances.
class Tracked {
 public:
  explicit Tracked(int number) : value(number) { ++books.alive; }
  Tracked(const Tracked& other) : value(other.value) { ++books.alive; }
  Tracked& operator=(const Tracked&) = default;
  ~Tracked() { --books.alive; }
  int value;
};

Task<Tracked> work(Tracked kept, unsigned kind) {
  switch (kind % 8) {
    case 0:
      co_await sleep_for(std::chrono::microseconds(kind % 300));
      break;
    case 1:
      co_await cohort::yield();
      break;
    case 2:
      throw Failure("on purpose");
    case 3:
      if (kind % 3 == 0) co_await sleep_for(1h);  // until somebody stops it
      break;
    default:
      break;
  }
  co_return kept;
}

/// Says how a future ended, once it has.
void settle(const AsyncFuture<Tracked>& future, int number) {
  if (!future.done()) return blame("a future is not done after its executor's end");
  if (future.cancelled()) {
    ++books.cancellations;
    return;
  }
  if (const std::exception_ptr error = future.exception()) {
    try {
      std::rethrow_exception(error);
    } catch (const Failure&) {
      ++books.failures;
    } catch (const TimeoutError&) {
      ++books.timeouts;
    } catch (const ExecutorShutdownError&) {
      ++books.failures;  // it submits others itself, and came too late
    } catch (...) {
      blame("a task failed with something that nobody threw");
    }
    return;
  }
  ++books.values;
  if (future.get().value != number) blame("a task has the result of another");
}

/// One executor, from its beginning to its end.
void live(std::uint64_t seed) {
  Random random(seed);
  const auto below = [&](std::uint64_t count) { return random() % count; };
  Semaphore semaphore(1 + static_cast<std::ptrdiff_t>(below(3)));
  ExecutorOptions options;
  options.max_workers = 1 + below(4);
  if (below(4) == 0) options.max_concurrent_tasks = 8 + below(50);
  options.on_unhandled_exception = [](const std::exception_ptr&) {};
  AsyncExecutor executor(options);
  ++books.executors;
  struct Kept {
    AsyncFuture<Tracked> future;
    int number;
  };
  std::vector<Kept> kept;
  std::vector<AsyncFuture<Tracked>> sleepers;
  const int steps = 200 + static_cast<int>(below(800));
  for (int step = 0; step < steps; ++step) {
    const std::uint64_t what = below(100);
    if (what < 60) {
      auto kind = static_cast<unsigned>(random());
      // With few places, those who sleep until they are stopped would take them all.
      if (options.max_concurrent_tasks != unlimited && kind % 8 == 3) ++kind;
      const std::uint64_t extra = below(10);
      SubmitOptions submit;
      if (extra == 0) submit.timeout = std::chrono::microseconds(below(500));
      if (extra == 1) submit.retries = static_cast<int>(below(3)), submit.retry_delay = 10us, ++books.retries;
      if (extra == 2) submit.semaphore = &semaphore;
      const bool endless = kind % 8 == 3 && kind % 3 == 0 && !submit.timeout.has_value();
      AsyncFuture<Tracked> future = executor.submit(submit, work, Tracked(step), kind);
      ++books.accepted;
      if (below(4) == 0) {
        ++books.callbacks_added;
        future.add_done_callback([throws = below(5) == 0](const AsyncFuture<Tracked>&) {
          ++books.callbacks_called;
          if (throws) throw Failure("a callback");
        });
      }
      if (below(10) == 0) future.cancel();
      if (endless) sleepers.push_back(future);
      if (!endless && below(5) == 0) {
        ++books.dropped;
      } else {
        kept.push_back({std::move(future), step});
      }
    } else if (what < 70 && !kept.empty()) {
      kept[below(kept.size())].future.cancel();
    } else if (what < 75) {
      const std::size_t count = below(60), taken = below(60);
      auto body = [](int x) -> Task<int> {
        if (x % 7 == 0) co_await cohort::yield();
        if (x % 13 == 12) throw Failure("an element");
        co_return x;
      };
      std::vector<int> input(count);
      for (std::size_t i = 0; i < count; ++i) input[i] = static_cast<int>(i);
      auto stream = executor.map(
          MapOptions{.max_concurrency = 1 + below(8), .buffer_size = 1 + below(16), .chunk_size = 1 + below(4)}, body,
          input);
      for (std::size_t i = 0; i < taken; ++i) {
        try {
          const std::optional<int> value = sync_wait(stream.next());
          if (!value) {
            if (i != count) blame("a map ended too early, or too late");
            break;
          }
          if (*value != static_cast<int>(i)) blame("a map gave a result in the wrong place");
          ++books.map_results;
        } catch (const Failure&) {
          if (i % 13 != 12) blame("a map threw in the wrong place");
        }
      }
    } else if (what < 80 && !kept.empty()) {
      std::vector<AsyncFuture<Tracked>> some;
      for (int i = 0; i < 5; ++i) some.push_back(kept[below(kept.size())].future);
      const WaitResult<Tracked> result =
          sync_wait(cohort::wait(some, WaitOptions{.timeout = 50us, .return_when = WaitStrategy::first_completed}));
      if (result.done.size() + result.not_done.size() > 5) blame("a wait made up a future");
    } else if (what < 85) {
      // Nested, blocking and awaiting.
      auto nested = [&executor](int number) { return executor.submit(work, Tracked(number), 4U).get(); };
      auto all = [&executor, nested](int number) -> Task<Tracked> {
        std::tuple<Tracked, Tracked> both =
            co_await when_all(work(Tracked(number), 1), executor.submit(nested, number));
        auto first = co_await when_any(work(std::get<0>(both), 0), sleep_for(1ms));
        static_cast<void>(first);
        co_return std::get<1>(both);
      };
      if (options.max_concurrent_tasks == unlimited) {
        kept.push_back({executor.submit(all, step), step});
        ++books.accepted;
      }
    } else if (what < 87) {
      std::this_thread::sleep_for(std::chrono::microseconds(below(300)));
    } else if (what < 88) {
      ConcurrentExecutionBackend backend(executor, BackendOptions{.max_processes = 2, .kill_grace = 1s});
      std::vector<TaskDescription> batch;
      const bool stops = below(3) == 0;
      for (int i = 0; i < 2; ++i) {
        batch.emplace_back("", FunctionTask(work, Tracked(step), i == 0 ? 0U : 2U));
        ++books.functions;
      }
      if (below(4) == 0 && options.max_concurrent_tasks == unlimited) {
        batch.emplace_back("", ExecutableTask{.program = stops ? "sleep 10" : "cat; exit 3",
                                              .shell = true,
                                              .standard_input = std::string(1000, 'x')});
        ++books.programs;
      }
      const auto results = backend.submit_tasks(std::move(batch));
      if (stops) backend.shutdown();
      for (const auto& result : results) {
        const TaskState state = result.get().state;
        if (state != TaskState::done && state != TaskState::failed && !(stops && state == TaskState::canceled))
          blame("a backend's task ended in no good state");
      }
    }
  }
  // Its end: drained, or cancelled, by one or several.
  for (const AsyncFuture<Tracked>& sleeper : sleepers) sleeper.cancel();
  const std::uint64_t end = below(4);
  if (end == 0) executor.shutdown(ShutdownOptions{.wait = false, .cancel_futures = below(2) == 0});
  if (end == 1) {
    std::jthread other([&] { executor.shutdown(ShutdownOptions{.cancel_futures = true}); });
    executor.shutdown();
  }
  executor.shutdown();
  try {
    static_cast<void>(executor.submit(work, Tracked(0), 4U));
    blame("a task was accepted after shutdown");
  } catch (const ExecutorShutdownError&) {
    ++books.refused;
  }
  for (const Kept& each : kept) settle(each.future, each.number);
  const ExecutorStats stats = executor.stats();
  if (stats.pending + stats.running != 0) blame("something is left after shutdown");
  if (stats.succeeded + stats.failed + stats.cancelled != stats.submitted) blame("an executor's books do not balance");
  books.submitted += stats.submitted;
  books.succeeded += stats.succeeded;
  books.failed += stats.failed;
  books.cancelled += stats.cancelled;
}

long resident_kib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("VmRSS:", 0) == 0) return std::stol(line.substr(6));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const double minutes = argc > 1 ? std::strtod(argv[1], nullptr) : 1.0;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10)
                                      : static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
  std::printf("soak: %g minutes, seed %llu\n", minutes, static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  std::signal(SIGALRM, [](int) {
    static constexpr char text[] = "soak: nothing has moved for two minutes\n";
    static_cast<void>(!::write(2, text, sizeof text - 1));
    std::abort();
  });
  const auto end = Clock::now() +
                   std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::ratio<60>>(minutes));
  long early = 0, late = 0;  // memory after the first tenth, and the most after that
  const auto begin = Clock::now();
  {
    std::vector<std::jthread> threads;
    std::atomic<std::uint64_t> next{seed};
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (Clock::now() < end && books.wrong == 0) {
          ::alarm(120);
          live(next++);
        }
      });
    }
    while (Clock::now() < end && books.wrong == 0) {
      std::this_thread::sleep_for(200ms);
      const long now = resident_kib();
      if (Clock::now() - begin < (end - begin) / 10) {
        early = std::max(early, now);
      } else {
        late = std::max(late, now);
      }
    }
  }
  ::alarm(0);
  const auto patience = Clock::now() + 10s;
  while (detail::live_frames() != 0 && Clock::now() < patience) std::this_thread::sleep_for(1ms);
  const auto say = [](const char* what, const std::atomic<std::uint64_t>& count) {
    std::printf("  %-28s %12llu\n", what, static_cast<unsigned long long>(count.load()));
  };
  say("executors", books.executors);
  say("tasks, as they count", books.submitted);
  say("  succeeded", books.succeeded);
  say("  failed", books.failed);
  say("  cancelled", books.cancelled);
  say("tasks submitted one by one", books.accepted);
  say("  with a value", books.values);
  say("  failed", books.failures);
  say("  timed out", books.timeouts);
  say("  cancelled", books.cancellations);
  say("  dropped", books.dropped);
  say("  with retries", books.retries);
  say("callbacks", books.callbacks_called);
  say("results of maps", books.map_results);
  say("a backend's functions", books.functions);
  say("a backend's programs", books.programs);
  std::printf("  %-28s %12ld KiB, then at most %ld KiB\n", "memory", early, late);
  if (books.callbacks_added != books.callbacks_called) blame("a callback was called too often, or not");
  if (books.values + books.failures + books.timeouts + books.cancellations + books.dropped != books.accepted)
    blame("a task is not accounted for");
  if (books.succeeded + books.failed + books.cancelled != books.submitted) blame("the books do not balance");
  if (books.alive != 0) blame("an object was not destroyed, or twice");
  if (detail::live_frames() != 0) blame("frames are left");
  if (!sanitized && early != 0 && late > 2 * early + 64 * 1024) blame("memory grows");
  std::puts(books.wrong == 0 ? "soak: everything is accounted for" : "soak: FAILED");
  return books.wrong == 0 ? 0 : 1;
}
