// Runs a scenario many times, each time with another schedule.
//
// A simulated thread is a real one, so that thread-local variables, exceptions and coroutines work as they do; but only
// the one that has the baton runs. Before each operation that others can see it asks, in point(), who is to go on, and
// passes the baton to that one. The real threads are kept from one execution to the next.
//
// Strategies: `random` asks the dice at each point. `pct3` and `pct5` are probabilistic concurrency testing: each thread
// has a priority, the highest that can run does, and at d - 1 points chosen beforehand the running thread becomes the
// lowest. It finds every bug that takes d orderings with a probability of at least 1 / (threads * points ^ (d - 1)).
// Burckhardt, Kothari, Musuvathi and Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding
// bugs", ASPLOS 2010, doi:10.1145/1736020.1736040.
//
// `bounded`, when it is asked for, goes through all schedules with at most two preemptions, or as many as --bound says:
// see bounded.hpp. Without a preemption a thread runs until it blocks, ends or yields, and nothing happens for no reason.

#include "explore.hpp"

#include <cohort/detail/frame_memory.hpp>
#include <cohort/detail/thread_context.hpp>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>
#include <unordered_set>

#include "bounded.hpp"
#include "memory.hpp"

namespace explore {

// A simulated thread, and the real one that plays it. Written by whoever has the baton.
struct Thread {
  int number = 0;
  std::atomic<std::uint32_t> baton{0};
  bool used = false;  // in this execution
  bool finished = false;
  bool runnable = false;
  std::int64_t priority = 0;
  const void* blocked_on = nullptr;
  TimePoint deadline = TimePoint::max();
  bool timed_out = false;
  std::function<void()> body;
  Operation doing;
  std::thread real;
};

namespace {

enum class Strategy { random, pct3, pct5, bounded };
constexpr std::array<const char*, 4> strategy_names{"random", "pct3", "pct5", "bounded"};

constexpr unsigned most_threads = 16;
constexpr std::uint64_t most_steps = 50'000;  // more is a livelock
constexpr std::size_t most_choices = 4 * most_steps;
constexpr std::uint64_t most_in_a_row = 2'000;  // pct, bounded: of one thread while others could run; then they do
constexpr std::uint64_t warm_up = 64;           // executions to find out how long the scenario is
constexpr std::uint64_t vacuous_below = 3'000;  // so few executions need not meet every outcome

struct Random {
  // Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
  std::uint64_t next() noexcept {
    std::uint64_t z = state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }
  std::uint64_t below(std::uint64_t bound) noexcept { return bound < 2 ? 0 : next() % bound; }

  std::uint64_t state = 0;
};

struct Step {
  int thread = 0;
  Operation operation;
};

// One execution, and what outlives it.
struct Run {
  const Scenario* scenario = nullptr;
  Strategy strategy = Strategy::random;
  std::uint64_t seed = 0;
  std::uint64_t execution = 0;  // of this scenario, from 1
  bool active = false;

  std::deque<Thread> threads;  // the first is this program's main thread
  unsigned used = 0;
  unsigned runnable = 0;
  Thread* current = nullptr;
  Random random;
  std::unique_ptr<BoundedSearch> search;  // of the strategy `bounded`
  TimePoint now;
  std::uint64_t steps = 0;
  std::uint64_t choices = 0;  // steps at which more than one thread could run
  std::uint64_t in_a_row = 0;
  std::uint64_t schedule = 0;  // a hash of all choices
  std::int64_t lowest = 0;
  std::array<std::uint64_t, 4> changes{};
  unsigned change_count = 0;
  bool refuses_threads = false;
  Thread* calm = nullptr;  // whose calm it is: no choices, and the others come first

  std::vector<Step> trace;  // a ring
  std::uint64_t expected_choices = 0;
  std::atomic<std::uint64_t> alive{0};  // for the watchdog
};

Run& run() {
  static Run* const immortal = new Run;  // threads look at it until the process is gone
  return *immortal;
}

thread_local Thread* self = nullptr;

bool simulated() noexcept { return self != nullptr && run().active; }

// ---------------------------------------------------------------------------------------------------------------------
// The baton

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) noexcept {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr,
          0);
}

void pass_to(Thread& next) noexcept {
  run().current = &next;
  next.baton.store(1);
  futex(next.baton, FUTEX_WAKE, 1);
}

void wait_for_baton() noexcept {
  while (self->baton.load() == 0) futex(self->baton, FUTEX_WAIT, 0);
  self->baton.store(0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Failing

void print_location(const Where& where) noexcept {
  const char* const slash = std::strrchr(where.file, '/');
  std::fprintf(stderr, "%s:%d", slash != nullptr ? slash + 1 : where.file, where.line);
}

void print_failure(const char* what) noexcept {
  Run& r = run();
  if (r.scenario == nullptr) {
    std::fprintf(stderr, "explore: %s\n", what);
    return;
  }
  std::fprintf(stderr, "\n%s (%s) FAILED at execution %llu: %s\n", r.scenario->id.c_str(), r.scenario->title.c_str(),
               static_cast<unsigned long long>(r.execution), what);
  const std::uint64_t kept = std::min<std::uint64_t>(r.steps, r.trace.size());
  std::fprintf(stderr, "The last %llu of %llu steps:\n", static_cast<unsigned long long>(kept),
               static_cast<unsigned long long>(r.steps));
  for (std::uint64_t i = r.steps - kept; i < r.steps; ++i) {
    const Step& step = r.trace[i % r.trace.size()];
    std::fprintf(stderr, "  %*s%d %s %p ", step.thread * 2, "", step.thread, step.operation.name,
                 step.operation.object);
    print_location(step.operation.where);
    std::fputc('\n', stderr);
  }
  std::fputs("The threads:\n", stderr);
  for (unsigned i = 0; i < r.used; ++i) {
    const Thread& thread = r.threads[i];
    std::fprintf(stderr, "  %d %s: %s %p ", thread.number,
                 thread.finished   ? "has ended"
                 : thread.runnable ? "could run"
                                   : "is blocked",
                 thread.doing.name, thread.doing.object);
    print_location(thread.doing.where);
    std::fputc('\n', stderr);
  }
  const std::string how =
      r.strategy == Strategy::bounded ? "schedule=" + r.search->text() : "seed=" + std::to_string(r.seed);
  std::fprintf(stderr, "To see it again: explore %s --strategy=%s --%s\n", r.scenario->id.c_str(),
               strategy_names[static_cast<std::size_t>(r.strategy)], how.c_str());
}

extern "C" void on_signal(int signal) {
  std::signal(signal, SIG_DFL);
  print_failure(signal == SIGSEGV   ? "memory that is not there was used (SIGSEGV)"
                : signal == SIGABRT ? "abort()"
                                    : "a signal");
  _exit(1);
}

// ---------------------------------------------------------------------------------------------------------------------
// Choosing

void set_runnable(Thread& thread) noexcept {
  if (thread.runnable) return;
  thread.runnable = true;
  thread.blocked_on = nullptr;
  ++run().runnable;
}

template <class Accept>
Thread* any_runnable(unsigned count, Accept accept) noexcept {
  Run& r = run();
  std::uint64_t chosen = r.random.below(count);
  for (unsigned i = 0; i < r.used; ++i) {
    Thread& thread = r.threads[i];
    if (thread.runnable && accept(thread) && chosen-- == 0) return &thread;
  }
  fail("explore: the number of threads that can run is wrong");
}

// Of those that can run and are acceptable, the current one comes first, then the others in turn.
template <class Accept>
Thread& nth_in_turn(unsigned n, Accept accept) noexcept {
  Run& r = run();
  for (unsigned i = 0; i < r.used; ++i) {
    Thread& thread = r.threads[(static_cast<unsigned>(r.current->number) + i) % r.used];
    if (thread.runnable && accept(thread) && n-- == 0) return thread;
  }
  fail("explore: the number of threads that can run is wrong");
}

// The next in turn after the current one, but for the one whose calm it is.
Thread& choose_calmly() noexcept {
  return nth_in_turn(0, [&r = run()](const Thread& thread) { return &thread != r.current && &thread != r.calm; });
}

// The current one goes on if it can: to choose another costs a preemption.
Thread& choose_within_bound() noexcept {
  Run& r = run();
  const bool can_go_on = r.current->runnable;
  if (!can_go_on) r.in_a_row = 0;
  if (++r.in_a_row > most_in_a_row) {
    r.in_a_row = 0;
    return nth_in_turn(1, [](const Thread&) { return true; });
  }
  const unsigned chosen = r.search->choose(r.runnable, can_go_on);
  if (chosen != 0) r.in_a_row = 0;
  return nth_in_turn(chosen, [](const Thread&) { return true; });
}

// Who goes next, when at least one can.
Thread& choose() noexcept {
  Run& r = run();
  if (r.runnable == 1) return *any_runnable(1, [](const Thread&) { return true; });
  if (r.calm != nullptr) return choose_calmly();
  ++r.choices;
  Thread* next = nullptr;
  if (r.strategy == Strategy::random) {
    next = any_runnable(r.runnable, [](const Thread&) { return true; });
  } else if (r.strategy == Strategy::bounded) {
    next = &choose_within_bound();
  } else {
    for (unsigned i = 0; i < r.change_count; ++i) {
      if (r.changes[i] == r.choices) r.current->priority = --r.lowest;
    }
    if (++r.in_a_row > most_in_a_row) {
      r.current->priority = --r.lowest;
      r.in_a_row = 0;
    }
    for (unsigned i = 0; i < r.used; ++i) {
      Thread& thread = r.threads[i];
      if (thread.runnable && (next == nullptr || thread.priority > next->priority)) next = &thread;
    }
    if (next != r.current) r.in_a_row = 0;
  }
  r.schedule = (r.schedule ^ static_cast<std::uint64_t>(next->number + 1)) * 0x100000001b3U;
  return *next;
}

// A timed wait ends, when no thread can run.
bool let_time_pass() noexcept {
  Run& r = run();
  Thread* first = nullptr;
  for (unsigned i = 0; i < r.used; ++i) {
    Thread& thread = r.threads[i];
    if (thread.blocked_on == nullptr || thread.deadline == TimePoint::max()) continue;
    if (first == nullptr || thread.deadline < first->deadline) first = &thread;
  }
  if (first == nullptr) return false;
  r.now = std::max(r.now, first->deadline);
  first->timed_out = true;
  set_runnable(*first);
  return true;
}

// The calling thread cannot go on now, or has come to its end.
Thread& choose_another() noexcept {
  Run& r = run();
  if (r.runnable == 0 && !let_time_pass()) fail("DEADLOCK: no thread can run");
  return choose();
}

void count_step(const Operation& operation) noexcept {
  Run& r = run();
  self->doing = operation;
  r.trace[r.steps % r.trace.size()] = {self->number, operation};
  if (++r.steps > most_steps) fail("LIVELOCK: too many steps");
}

void go_to(Thread& next) noexcept {
  if (&next == self) return;
  pass_to(next);
  wait_for_baton();
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------
// For the instrumented types

void fail(const char* what) noexcept {
  print_failure(what);
  std::fflush(nullptr);
  _exit(1);
}

void point(const Operation& operation) noexcept {
  if (!simulated()) return;
  self->doing = operation;
  if (run().runnable > 1 && run().calm == nullptr) go_to(choose());
  count_step(operation);
}

void give_way(const Operation& operation) noexcept {
  if (!simulated()) return;
  Run& r = run();
  self->doing = operation;
  if (r.runnable > 1) {
    if (r.calm != nullptr) {
      go_to(choose_calmly());
    } else if (r.strategy == Strategy::bounded) {
      go_to(nth_in_turn(0, [](const Thread& thread) { return &thread != self; }));  // in turn, so that all come by
    } else if (r.strategy == Strategy::random) {
      ++r.choices;
      go_to(*any_runnable(r.runnable - 1, [](const Thread& thread) { return &thread != self; }));
    } else {
      self->priority = --r.lowest;
      go_to(choose());
    }
  }
  count_step(operation);
}

bool whim(unsigned one_in) noexcept {
  Run& r = run();
  if (!simulated() || r.calm != nullptr) return false;
  return r.strategy == Strategy::bounded ? r.search->choose(2, true) != 0 : r.random.below(one_in) == 0;
}

bool block(const Operation& operation, TimePoint deadline) noexcept {
  Run& r = run();
  if (!simulated()) fail("explore: a thread blocks outside of an execution");
  count_step(operation);
  if (deadline <= r.now) {
    point(operation);
    return false;
  }
  self->runnable = false;
  --r.runnable;
  self->blocked_on = operation.object;
  self->deadline = deadline;
  self->timed_out = false;
  go_to(choose_another());
  self->deadline = TimePoint::max();
  return !self->timed_out;
}

bool anybody_blocked_on(const void* object) noexcept {
  const Run& r = run();
  return simulated() && std::any_of(r.threads.begin(), r.threads.begin() + r.used,
                                    [&](const Thread& thread) { return thread.blocked_on == object; });
}

void wake_one(const void* object) noexcept {
  if (!simulated()) return;
  Run& r = run();
  std::array<Thread*, most_threads> blocked{};
  std::size_t count = 0;
  for (unsigned i = 0; i < r.used; ++i) {
    if (r.threads[i].blocked_on == object) blocked[count++] = &r.threads[i];
  }
  if (count == 0) return;
  set_runnable(*blocked[r.strategy != Strategy::bounded ? r.random.below(count)
                        : count == 1                    ? 0
                                                        : r.search->choose(static_cast<unsigned>(count), false)]);
}

void wake_all(const void* object) noexcept {
  if (!simulated()) return;
  Run& r = run();
  for (unsigned i = 0; i < r.used; ++i) {
    if (r.threads[i].blocked_on == object) set_runnable(r.threads[i]);
  }
}

int thread_number() noexcept { return self != nullptr ? self->number : 0; }

TimePoint now() noexcept { return run().now; }

Calm::Calm() noexcept {
  Run& r = run();
  if (r.strategy == Strategy::bounded || r.random.below(3) != 0) r.calm = self;
}

void Calm::end(Where where) noexcept {
  Run& r = run();
  if (r.calm == nullptr) return;
  self->doing = {"the end of the calm", nullptr, where};
  while (r.runnable > 1) go_to(choose_calmly());
  r.calm = nullptr;
}

void refuse_threads() noexcept { run().refuses_threads = true; }

void advance(cohort::Duration duration, Where where) noexcept {
  point({"advance the clock", nullptr, where});
  Run& r = run();
  r.now += duration;
  for (unsigned i = 0; i < r.used; ++i) {
    Thread& thread = r.threads[i];
    if (thread.blocked_on == nullptr || thread.deadline > r.now) continue;
    thread.timed_out = true;
    set_runnable(thread);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Threads

namespace {

// Of a real thread that plays one simulated thread per execution.
void play(Thread& thread) {
  self = &thread;
  for (;;) {
    wait_for_baton();
    Run& r = run();
    // As in a new thread.
    cohort::detail::thread_context() = cohort::detail::ThreadContext{};
    thread.body();
    thread.body = nullptr;
    thread.doing = {"the end", nullptr, {}};
    thread.finished = true;
    thread.runnable = false;
    --r.runnable;
    wake_all(&thread);
    pass_to(choose_another());
  }
}

void begin_thread(Thread& thread) noexcept {
  Run& r = run();
  thread.used = true;
  thread.finished = false;
  thread.blocked_on = nullptr;
  thread.deadline = TimePoint::max();
  thread.priority = static_cast<std::int64_t>(r.random.next() >> 2U);
  set_runnable(thread);
}

}  // namespace

Thread* start(std::function<void()> body, Where where) {
  if (!simulated()) fail("explore: a thread is started outside of an execution");
  point({"start a thread", nullptr, where});
  Run& r = run();
  if (r.refuses_threads) throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  if (r.used == most_threads) fail("explore: too many threads");
  if (r.used == r.threads.size()) {
    const Untracked untracked;
    Thread& made = r.threads.emplace_back();
    made.number = static_cast<int>(r.used);
    made.real = std::thread([&made] { play(made); });
  }
  Thread& thread = r.threads[r.used++];
  thread.body = std::move(body);
  thread.doing = {"about to start", nullptr, where};
  begin_thread(thread);
  return &thread;
}

void join(Thread& thread) noexcept {
  const Operation operation{"join", &thread, {}};
  point(operation);
  while (!thread.finished) block(operation);
}

// ---------------------------------------------------------------------------------------------------------------------
// Executions

namespace {

struct Figures {
  std::uint64_t executions = 0;
  std::uint64_t steps = 0;
  std::uint64_t choices = 0;  // of the longest
  double seconds = 0;
  std::unordered_set<std::uint64_t> schedules;
};

double seconds_since(TimePoint begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Runs the scenario once; returns which outcome it was.
std::size_t execute(const Scenario& scenario, Strategy strategy, std::uint64_t seed, bool leaks_matter) {
  Run& r = run();
  r.scenario = &scenario;
  r.strategy = strategy;
  r.seed = seed;
  r.random = {seed * 0x2545f4914f6cdd1dU};
  r.random.next();
  r.used = 1;
  r.runnable = 0;
  r.steps = r.choices = r.in_a_row = r.schedule = 0;
  r.lowest = 0;
  r.calm = nullptr;
  r.refuses_threads = false;
  r.now = TimePoint(std::chrono::seconds(1000));
  r.change_count = strategy == Strategy::pct3 ? 2 : strategy == Strategy::pct5 ? 4 : 0;
  if (strategy == Strategy::bounded) r.search->begin();
  for (unsigned i = 0; i < r.change_count; ++i) r.changes[i] = 1 + r.random.below(r.expected_choices);
  Thread& main = r.threads.front();
  self = &main;
  cohort::detail::thread_context() = cohort::detail::ThreadContext{};  // what counts in it must not depend on before
  r.current = &main;
  main.runnable = false;
  begin_thread(main);

  const std::ptrdiff_t frames_before = cohort::detail::live_frames();
  begin_tracking();
  r.active = true;
  const char* const outcome = scenario.run();
  // Threads that nobody joins: all must come to their end.
  for (unsigned i = 1; i < r.used; ++i) join(r.threads[i]);
  r.active = false;
  r.alive.fetch_add(1, std::memory_order_relaxed);
  const MemoryReport memory = end_tracking();
  if (memory.written_after_free) fail("memory was written to after it had been freed");
  if (cohort::detail::live_frames() != frames_before) fail("task frames or states are left");
  if (memory.left != 0 && leaks_matter) fail("memory is left");

  const auto found = std::find(scenario.outcomes.begin(), scenario.outcomes.end(), outcome);
  if (found == scenario.outcomes.end()) {
    static std::string text;
    text = std::string("\"") + outcome + "\" is not one of the outcomes";
    fail(text.c_str());
  }
  return static_cast<std::size_t>(found - scenario.outcomes.begin());
}

struct Arguments {
  std::vector<std::string> scenarios;
  bool list = false;
  std::uint64_t executions = 0;
  double seconds = 0;
  std::vector<Strategy> strategies;
  std::uint64_t seed = 0;
  unsigned bound = 2;
  std::optional<std::string> schedule;
  std::uint64_t trace = 100;
};

[[noreturn]] void usage(const char* wrong) {
  std::fprintf(stderr,
               "%s\n"
               "explore list\n"
               "explore [SCENARIO...] [--executions=N] [--seconds=S] [--strategy=random|pct3|pct5] [--seed=N] "
               "[--trace=N]\n"
               "explore [SCENARIO...] --strategy=bounded [--bound=N] [--schedule=S] [--executions=N] [--seconds=S]\n"
               "  SCENARIO      S9, or all; S9 stands for all whose names begin with \"S9-\", too\n"
               "  --executions  of each scenario, all strategies together; 60000 if there is no other limit\n"
               "  --seed        runs this one only, if --executions does not say otherwise\n"
               "  --bound       the most preemptions of a schedule, of which all are tried; 2 if it is not there\n"
               "  --schedule    runs this one only, as a failure has printed it\n"
               "  --trace       how many steps to show after a failure\n",
               wrong);
  std::exit(2);
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const std::string_view name = word.substr(0, word.find('='));
    const std::string value(word.substr(std::min(word.size(), name.size() + 1)));
    try {
      if (name == "--executions") {
        arguments.executions = std::stoull(value);
      } else if (name == "--seconds") {
        arguments.seconds = std::stod(value);
      } else if (name == "--seed") {
        arguments.seed = std::stoull(value);
      } else if (name == "--bound") {
        arguments.bound = static_cast<unsigned>(std::stoul(value));
      } else if (name == "--schedule") {
        arguments.schedule = value;
      } else if (name == "--trace") {
        arguments.trace = std::max<std::uint64_t>(1, std::stoull(value));
      } else if (name == "--strategy") {
        const auto found = std::find(strategy_names.begin(), strategy_names.end(), value);
        if (found == strategy_names.end()) usage("There is no such strategy.");
        arguments.strategies.push_back(static_cast<Strategy>(found - strategy_names.begin()));
      } else if (word.substr(0, 1) == "-") {
        usage("There is no such option.");
      } else if (word == "list") {
        arguments.list = true;
      } else {
        arguments.scenarios.emplace_back(word);
      }
    } catch (const std::logic_error&) {
      usage("An option needs a number.");
    }
  }
  if (arguments.strategies.empty()) arguments.strategies = {Strategy::random, Strategy::pct3, Strategy::pct5};
  // `bounded` comes to an end by itself, and stands alone.
  const bool bounded = arguments.strategies.back() == Strategy::bounded;
  if (arguments.schedule.has_value() && !bounded) usage("A schedule is for the strategy bounded.");
  if (bounded && arguments.strategies.size() != 1) usage("The strategy bounded stands alone.");
  if (arguments.executions == 0) {
    arguments.executions = arguments.schedule.has_value()      ? 1
                           : bounded || arguments.seconds != 0 ? std::uint64_t(-1)
                           : arguments.seed != 0               ? arguments.strategies.size()
                                                               : 60'000;
  }
  if (arguments.seed == 0) arguments.seed = 1;
  return arguments;
}

void print_outcomes(const Scenario& scenario, const std::vector<std::uint64_t>& met) {
  std::printf("  outcomes:");
  for (std::size_t i = 0; i < met.size(); ++i) {
    std::printf("%s %s %llu", i == 0 ? "" : ",", scenario.outcomes[i].c_str(), static_cast<unsigned long long>(met[i]));
  }
  std::printf("\n");
  std::fflush(stdout);
}

bool is_asked_for(const Scenario& scenario, const std::vector<std::string>& names) {
  return names.empty() || std::any_of(names.begin(), names.end(), [&](const std::string& name) {
           return name == "all" || scenario.id == name || scenario.id.compare(0, name.size() + 1, name + "-") == 0;
         });
}

// Returns the number of executions: all schedules without a preemption, then all with at most one, and so on up to the
// bound, if nothing ends the search before.
std::uint64_t exhaust_scenario(const Scenario& scenario, const Arguments& arguments) {
  Run& r = run();
  std::printf("%s: %s\n", scenario.id.c_str(), scenario.title.c_str());
  if (arguments.schedule.has_value()) {
    r.search = std::make_unique<BoundedSearch>(*arguments.schedule);
    r.execution = 1;
    execute(scenario, Strategy::bounded, 1, false);
    return 1;
  }
  // What is made once and kept is there before anything counts.
  r.search = std::make_unique<BoundedSearch>(0, most_choices);
  r.execution = 0;
  execute(scenario, Strategy::bounded, 1, false);

  std::vector<std::uint64_t> met(scenario.outcomes.size());
  const TimePoint begin = std::chrono::steady_clock::now();
  bool all = true;
  std::uint64_t count = 0;
  std::printf("  all schedules with at most so many preemptions:");
  for (unsigned bound = 0; all && bound <= arguments.bound; ++bound) {
    r.search = std::make_unique<BoundedSearch>(bound, most_choices);
    const std::uint64_t fewer = std::exchange(count, 0);
    all = false;
    while (!all && r.execution < arguments.executions &&
           (arguments.seconds == 0 || seconds_since(begin) < arguments.seconds)) {
      ++r.execution;
      ++count;
      ++met[execute(scenario, Strategy::bounded, 1, true)];
      all = !r.search->next();
    }
    if (count == fewer) {
      std::printf(", and there are no more");
      break;
    }
    std::printf("%s %u: %s%llu", bound == 0 ? "" : ",", bound, all ? "" : "not all but ",
                static_cast<unsigned long long>(count));
  }
  std::printf("\n  %.0f per second\n", static_cast<double>(r.execution) / seconds_since(begin));
  print_outcomes(scenario, met);
  return r.execution;
}

// Returns the number of executions. They go through the strategies in turn, each with the seeds 1, 2, 3, …
std::uint64_t explore_scenario(const Scenario& scenario, const Arguments& arguments) {
  Run& r = run();
  r.expected_choices = 1;
  r.execution = 0;
  std::uint64_t longest = 1;
  for (std::uint64_t seed = 1; seed <= warm_up; ++seed) {
    ++r.execution;
    execute(scenario, Strategy::random, seed, false);
    longest = std::max(longest, r.choices);
  }
  r.expected_choices = longest;

  r.execution = 0;
  std::vector<std::uint64_t> met(scenario.outcomes.size());
  std::map<Strategy, Figures> all_figures;
  const TimePoint begin = std::chrono::steady_clock::now();
  while (r.execution < arguments.executions && (arguments.seconds == 0 || seconds_since(begin) < arguments.seconds)) {
    const std::size_t count = arguments.strategies.size();
    const Strategy strategy = arguments.strategies[r.execution % count];
    const std::uint64_t seed = arguments.seed + r.execution / count;
    ++r.execution;
    const TimePoint before = std::chrono::steady_clock::now();
    ++met[execute(scenario, strategy, seed, true)];
    Figures& figures = all_figures[strategy];
    figures.seconds += seconds_since(before);
    ++figures.executions;
    figures.steps += r.steps;
    figures.choices = std::max(figures.choices, r.choices);
    figures.schedules.insert(r.schedule);
  }

  std::printf("%s: %s\n", scenario.id.c_str(), scenario.title.c_str());
  for (const auto& [strategy, figures] : all_figures) {
    const auto executions = static_cast<double>(figures.executions);
    std::printf("  %-6s %8llu executions, %8zu different, %6.0f per second, %5.0f steps, at most %llu choices\n",
                strategy_names[static_cast<std::size_t>(strategy)], static_cast<unsigned long long>(figures.executions),
                figures.schedules.size(), executions / figures.seconds, static_cast<double>(figures.steps) / executions,
                static_cast<unsigned long long>(figures.choices));
  }
  print_outcomes(scenario, met);
  if (r.execution >= vacuous_below && std::find(met.begin(), met.end(), std::uint64_t{0}) != met.end()) {
    std::fprintf(stderr, "%s FAILED: an outcome never came: it is not allowed, or the scenario does not get there\n",
                 scenario.id.c_str());
    _exit(1);
  }
  return r.execution;
}

// A switch between threads on one processor is several times faster than between two.
void stay_on_this_processor() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) == 1) return;
  const int processor = sched_getcpu();
  if (processor < 0) return;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(processor), &set);
  sched_setaffinity(0, sizeof set, &set);
}

// A thread that waits for something that the explorer does not know of would wait for ever.
void watch() {
  std::uint64_t seen = 0;
  for (int same = 0; same < 60; ++same) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    if (std::exchange(seen, run().alive.load(std::memory_order_relaxed)) != seen) same = 0;
  }
  fail("HANG: no execution has ended for a minute");
}

int main_program(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  if (arguments.list) {
    for (const Scenario* scenario : Scenario::all()) {
      std::printf("%s: %s\n", scenario->id.c_str(), scenario->title.c_str());
    }
    return 0;
  }
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, on_signal);
  stay_on_this_processor();
  Run& r = run();
  r.threads.emplace_back();
  r.trace.resize(arguments.trace);
  std::thread(watch).detach();

  std::uint64_t executions = 0;
  std::size_t scenarios = 0;
  const TimePoint begin = std::chrono::steady_clock::now();
  for (const Scenario* scenario : Scenario::all()) {
    if (!is_asked_for(*scenario, arguments.scenarios)) continue;
    executions += arguments.strategies.front() == Strategy::bounded ? exhaust_scenario(*scenario, arguments)
                                                                    : explore_scenario(*scenario, arguments);
    ++scenarios;
  }
  if (scenarios == 0) usage("There is no such scenario.");
  std::printf("%llu executions in %.1f s\n", static_cast<unsigned long long>(executions), seconds_since(begin));
  std::fflush(stdout);
  _exit(0);  // the threads are waiting for their next part
}

std::vector<const Scenario*>& registered() {
  static std::vector<const Scenario*> scenarios;
  return scenarios;
}

// S2 before S10.
bool comes_before(const Scenario* a, const Scenario* b) {
  const int left = std::atoi(a->id.c_str() + 1);
  const int right = std::atoi(b->id.c_str() + 1);
  return left != right ? left < right : a->id < b->id;
}

}  // namespace

Scenario::Scenario(const char* name, const char* text, std::initializer_list<const char*> allowed,
                   const char* (*function)())
    : id(name), title(text), outcomes(allowed.begin(), allowed.end()), run(function) {
  auto& all = registered();
  all.insert(std::upper_bound(all.begin(), all.end(), this, comes_before), this);
}

const std::vector<const Scenario*>& Scenario::all() { return registered(); }

}  // namespace explore

int main(int argc, char** argv) { return explore::main_program(argc, argv); }
