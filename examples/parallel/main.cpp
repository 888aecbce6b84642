// parallel [OPTION]... [COMMAND [ARGUMENT]...] [::: ARGUMENT...]
//
// Runs command lines, several at a time, and prints the output of each in one piece: the part of GNU parallel that most
// people use most of the time.
//
// As many coroutines as there may be jobs each take the next command line, have the backend run it, and report, again
// and again. So memory does not grow with the number of jobs: nothing is read before it can be run, and with
// --keep-order only so many outputs may wait for their turn. A dry run is the same with a backend that runs nothing.

#include <cohort/cohort.hpp>  // for AsyncExecutor, ConcurrentExecutionBackend, NoopExecutionBackend, Semaphore, Task

#include <unistd.h>  // for _exit, isatty

#include <algorithm>   // for max, min
#include <atomic>      // for atomic
#include <chrono>      // for milliseconds
#include <csignal>     // for SIGTERM
#include <cstddef>     // for ptrdiff_t, size_t
#include <cstdint>     // for uint64_t
#include <cstdio>      // for fputs
#include <exception>   // for current_exception, exception
#include <limits>      // for numeric_limits
#include <optional>    // for optional
#include <stdexcept>   // for invalid_argument
#include <stop_token>  // for stop_source
#include <string>      // for string
#include <utility>     // for move
#include <vector>      // for vector

#include "commands.hpp"  // for Commands
#include "options.hpp"   // for Halt, Options, parse_options, usage
#include "report.hpp"    // for Job, Report
#include "signals.hpp"   // for Signals

namespace {

void complain(const std::string& text) { std::fputs(("parallel: " + text + '\n').c_str(), stderr); }

template <cohort::ExecutionBackend Backend>
class Runner {
 public:
  Runner(const Options& options, Commands& commands, Backend& backend, Report& report)
      : options_(options),
        commands_(commands),
        backend_(backend),
        report_(report),
        unprinted_(static_cast<std::ptrdiff_t>(options.jobs + results_ahead)) {}

  /// Runs all command lines, and returns when all is printed.
  void run(cohort::AsyncExecutor& executor) {
    std::vector<cohort::AsyncFuture<void>> slots;
    for (std::size_t i = 0; i < options_.jobs; ++i) slots.push_back(executor.submit(run_jobs()));
    for (const auto& slot : slots) slot.get();
  }

  /// To be called for each signal, on any one thread.
  void interrupt(int signal) {
    if (++interruptions_ == 1) signal_ = signal;
    if (interruptions_ > 2) ::_exit(status(0));  // all are killed, but nobody reads what we have to print
    if (interruptions_ == 2 || signal == SIGTERM) return kill();
    complain("no more jobs are started; the next signal kills those that run");
    stop_.request_stop();
  }

  /// The exit status, given the number of jobs that failed.
  int status(std::uint64_t failed) const {
    if (signal_ != 0) return 128 + signal_;  // as a shell has it
    if (halt_status_ != 0) return halt_status_;
    return static_cast<int>(std::min(failed, std::uint64_t{101}));
  }

 private:
  static constexpr std::size_t results_ahead = 1000;

  /// One job after the other.
  cohort::Task<> run_jobs() {
    try {
      for (;;) {
        Job job;
        job.room = co_await unprinted_.acquire();
        const bool more = co_await take_next(job);
        if (!more) break;
        auto results = backend_.submit_tasks(batch(job));
        if (killing_) backend_.cancel_all_tasks();  // kill() may have been too early for this one
        job.result = co_await std::move(results.front());
        look_at(job);
        report_.ended(std::move(job));
      }
    } catch (...) {
      report_.give_up(std::current_exception());
      kill();
    }
  }

  /// False at the end, and when no more jobs are to be started.
  cohort::Task<bool> take_next(Job& job) {
    const cohort::Permit turn = co_await reading_.acquire();
    std::optional<std::string> command = commands_.next(stop_.get_token());
    if (!command) co_return false;
    job.command = std::move(*command);
    job.number = ++number_;
    report_.started();
    co_return true;
  }

  std::vector<cohort::TaskDescription> batch(const Job& job) const {
    cohort::ExecutableTask program{
        // A backend takes no empty program. A shell takes an empty command line, and does nothing.
        .program = job.command.empty() ? ":" : job.command,
        .shell = true,
        .output_limit = cohort::unlimited,
    };
    cohort::TaskDescription task(std::to_string(job.number), std::move(program));
    task.options.retries = options_.attempts == 0 ? std::numeric_limits<int>::max() : options_.attempts - 1;
    task.options.retry_delay = {};
    task.options.timeout = options_.timeout;
    return {std::move(task)};
  }

  /// What to say of a result, and what follows from it.
  void look_at(Job& job) {
    try {
      static_cast<void>(job.result.value_or_throw());
      if (options_.dry_run) job.result.standard_output = job.command + '\n';
    } catch (const cohort::TaskError&) {  // an exit code or a signal, which speaks for itself
    } catch (const cohort::CancelledError&) {
    } catch (const cohort::TimeoutError&) {
      job.timed_out = true;
      job.complaint = "parallel: killed because it took too long: " + job.command + '\n';
    } catch (const std::exception& error) {  // it could not be started
      job.complaint = std::string("parallel: ") + error.what() + ": " + job.command + '\n';
    }
    if (!job.failed() || options_.halt == Halt::never) return;
    int none = 0;
    halt_status_.compare_exchange_strong(none, job.status());
    if (options_.halt == Halt::now) return kill();
    stop_.request_stop();
  }

  void kill() {
    stop_.request_stop();
    killing_ = true;
    backend_.cancel_all_tasks();
  }

  const Options& options_;
  Commands& commands_;
  Backend& backend_;
  Report& report_;
  cohort::Semaphore unprinted_;   // jobs between input and output
  cohort::Semaphore reading_{1};  // one at a time
  std::uint64_t number_ = 0;      // with its permit
  std::stop_source stop_;         // no more jobs are to be started
  std::atomic<bool> killing_ = false;
  std::atomic<int> signal_ = 0;
  std::atomic<int> interruptions_ = 0;
  std::atomic<int> halt_status_ = 0;
};

template <cohort::ExecutionBackend Backend>
int run(const Options& options, cohort::AsyncExecutor& executor, Backend& backend, Signals& signals) {
  Commands commands(options);
  Report report(options);
  Runner<Backend> runner(options, commands, backend, report);
  signals.listen([&runner](int signal) { runner.interrupt(signal); });
  runner.run(executor);
  return runner.status(report.finish());
}

int run(const Options& options) {
  Signals signals;
  cohort::AsyncExecutor executor(std::max<std::size_t>(cohort::default_worker_count(), 2));  // one may wait for input
  if (options.dry_run) {
    cohort::NoopExecutionBackend backend;
    return run(options, executor, backend, signals);
  }
  // From SIGTERM to SIGKILL as long as GNU parallel waits.
  const cohort::BackendOptions limits{.max_processes = options.jobs, .kill_grace = std::chrono::milliseconds(350)};
  cohort::ConcurrentExecutionBackend backend(executor, limits);
  return run(options, executor, backend, signals);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse_options({argv + 1, argv + argc});
    if (!options.help) return run(options);
    write_all(STDOUT_FILENO, usage);
    return 0;
  } catch (const std::exception& error) {
    complain(error.what());
    return 255;
  }
}
