#pragma once

#include <cohort/cohort.hpp>  // for Permit, TaskResult, TaskState

#include <unistd.h>  // for isatty, write

#include <algorithm>     // for replace
#include <array>         // for array
#include <cerrno>        // for errno
#include <chrono>        // for duration, steady_clock, system_clock
#include <cstdint>       // for uint64_t
#include <cstdio>        // for snprintf
#include <exception>     // for exception_ptr, rethrow_exception
#include <fstream>       // for ofstream
#include <map>           // for map
#include <mutex>         // for lock_guard, mutex
#include <string>        // for string
#include <string_view>   // for string_view
#include <system_error>  // for system_error
#include <utility>       // for move

#include "options.hpp"  // for Options

/// Throws: `std::system_error`.
inline void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(descriptor, text.data(), text.size());
    if (count < 0 && errno != EINTR) throw std::system_error(errno, std::generic_category(), "write error");
    if (count > 0) text.remove_prefix(static_cast<std::size_t>(count));
  }
}

/// A command line, from the input to the report.
struct Job {
  std::uint64_t number = 0;  // from 1
  std::string command;
  cohort::Permit room;  // given back once it has been printed
  cohort::TaskResult result;
  bool timed_out = false;
  std::string complaint;  // what its own standard error does not say

  bool failed() const { return result.state == cohort::TaskState::failed; }
  /// Not one that was killed on request.
  bool completed() const { return failed() || result.state == cohort::TaskState::done; }
  /// As a shell has it; of what took too long, as GNU parallel has it.
  int status() const { return timed_out ? 255 : result.exit_code; }
};

/// Everything that is written, by whichever thread has something: outputs, complaints, the log and the progress.
class Report {
 public:
  /// Throws: `std::system_error`, as started() and ended() do.
  explicit Report(const Options& options)
      : keep_order_(options.keep_order || options.dry_run), bar_(options.bar && ::isatty(STDERR_FILENO) != 0) {
    if (options.joblog.empty() || options.dry_run) return;
    log_.open(options.joblog);
    log("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand");
  }

  void started() {
    const std::lock_guard lock(mutex_);
    ++running_;
    draw_bar();
  }

  /// Prints a job, or keeps it until it is its turn.
  void ended(Job job) {
    const std::lock_guard lock(mutex_);
    if (error_) return;
    --running_;
    if (job.completed()) ++completed_;
    if (job.failed()) ++failed_;
    if (job.completed() && log_.is_open()) log(log_line(job));
    if (keep_order_) {
      waiting_.emplace(job.number, std::move(job));
      for (auto first = waiting_.begin(); first != waiting_.end() && first->first == next_; ++next_) {
        print(first->second);
        first = waiting_.erase(first);
      }
    } else {
      print(job);
    }
    draw_bar();
  }

  /// From now on nothing is printed, because of `error`.
  void give_up(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    waiting_.clear();
  }

  /// When all is over: how many jobs failed. Throws what it was given up for.
  std::uint64_t finish() {
    hide_bar();
    if (error_) std::rethrow_exception(error_);
    return failed_;
  }

 private:
  void print(const Job& job) {
    if (!job.completed()) return;
    const std::string complaints = job.result.standard_error + job.complaint;
    if (!complaints.empty() || !job.result.standard_output.empty()) hide_bar();
    write_all(STDOUT_FILENO, job.result.standard_output);
    write_all(STDERR_FILENO, complaints);
  }

  void log(const std::string& line) {
    log_ << line << std::endl;
    if (!log_) throw std::system_error(errno, std::generic_category(), "cannot write the job log");
  }

  static std::string log_line(const Job& job) {
    using std::chrono::steady_clock, std::chrono::system_clock;
    using Seconds = std::chrono::duration<double>;
    const cohort::TaskResult& result = job.result;
    const Seconds start = system_clock::now().time_since_epoch() - Seconds(steady_clock::now() - result.started_at);
    const Seconds runtime = result.finished_at - result.started_at;
    std::array<char, 80> times{};
    std::snprintf(times.data(), times.size(), "\t:\t%.3f\t%10.3f\t0\t", start.count(), runtime.count());
    const int exit_value = job.timed_out ? -1 : result.term_signal != 0 ? 0 : result.exit_code;
    std::string command = job.command;
    std::replace(command.begin(), command.end(), '\n', '\0');  // as GNU parallel does
    return std::to_string(job.number) + times.data() + std::to_string(result.standard_output.size()) + '\t' +
           std::to_string(exit_value) + '\t' + std::to_string(result.term_signal) + '\t' + command;
  }

  void draw_bar() {
    if (!bar_) return;
    write_all(STDERR_FILENO, "\r" + std::to_string(completed_) + " done, " + std::to_string(failed_) + " failed, " +
                                 std::to_string(running_) + " running\033[K");
    visible_ = true;
  }
  void hide_bar() {
    if (visible_) write_all(STDERR_FILENO, "\r\033[K");
    visible_ = false;
  }

  const bool keep_order_;
  const bool bar_;
  std::mutex mutex_;  // of all that follows
  std::ofstream log_;
  std::map<std::uint64_t, Job> waiting_;  // for their turn
  std::uint64_t next_ = 1;
  std::uint64_t completed_ = 0, failed_ = 0, running_ = 0;
  std::exception_ptr error_;
  bool visible_ = false;
};
