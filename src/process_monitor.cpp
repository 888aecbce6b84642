#include "process.hpp"

#if __has_include(<spawn.h>)

#include "descriptor.hpp"
#include "fork_guard.hpp"
#include "process_group.hpp"
#include "process_spawn.hpp"

#include <cohort/detail/intrusive_list.hpp>
#include <cohort/detail/thread_context.hpp>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>  // for std::min, std::clamp
#include <cerrno>     // for errno
#include <chrono>     // for std::chrono::steady_clock
#include <csignal>    // for kill, pthread_sigmask
#include <cstddef>    // for std::size_t
#include <cstdint>    // for std::uint64_t
#include <limits>     // for std::numeric_limits
#include <map>        // for std::map
#include <mutex>      // for std::mutex
#include <thread>     // for std::thread
#include <utility>    // for std::exchange
#include <vector>     // for std::vector

#if defined(__linux__)
#include <sys/syscall.h>  // for SYS_pidfd_open
#endif

namespace cohort::detail {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// How long what was killed together with its leader may take to die: no longer than until it is run next, unless the system
// has it wait for something that cannot be interrupted, which may be for ever.
constexpr Duration patience = 5s;

// A thread that is made meanwhile never gets a signal that was meant for the application.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

// A descriptor that can be read when the process has exited; -1 when there is none to be had, whatever the reason.
int open_pidfd([[maybe_unused]] int pid) noexcept {
#if defined(SYS_pidfd_open)
  try {
    return Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)), "").release();
  } catch (...) {
  }
#endif
  return -1;
}

// waitid for that child and no other, told again after each signal. Zero, or -1 with the errno.
int wait_for(int pid, siginfo_t& info, int options) noexcept {
  int result = 0;
  do {
    info = siginfo_t{};
    result = ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | options);
  } while (result != 0 && errno == EINTR);
  return result;
}

// The group's number is ours as long as its leader is not reaped, which the application may do unasked.
void signal_group(const Process& process, int signal) noexcept {
  siginfo_t info;
  if (process.leader_exited && wait_for(process.pid, info, WNOHANG | WNOWAIT) != 0) return;
  ::kill(-process.pid, signal);
}

void close_pipe(int& pipe) noexcept {
  if (pipe >= 0) ::close(std::exchange(pipe, -1));
}

}  // namespace

// Everything about a process but its start and its `stop_asked` belongs to the monitor's thread, signals too: so no
// signal is sent to a number that was given back.
class ProcessMonitor::Implementation : public std::enable_shared_from_this<Implementation> {
 public:
  Implementation(Duration kill_grace, bool use_pidfd) noexcept : kill_grace_(kill_grace), use_pidfd_(use_pidfd) {}

  [[nodiscard]] bool from_before_fork() const noexcept { return fork_generation() != generation_; }
  void start(Process& process, const ExecutableTask& task);
  void wake() const noexcept;
  void leave() noexcept;

 private:
  void start_thread();
  void start_waiter(Process& process);
  void run() noexcept;
  void sleep(TimePoint until) noexcept;
  void admit() noexcept;
  TimePoint attend() noexcept;
  bool is_over(Process& process) noexcept;
  void look_at_leader(Process& process) noexcept;
  bool read_some(Process& process, std::size_t which) noexcept;

  // Whether there may be news from `descriptor`, the next that sleep() has asked about.
  bool has_news(int descriptor, std::size_t& next) const noexcept {
    if (descriptor < 0) return false;
    const std::size_t asked = next++;
    // Those it did not ask about: nothing blocks, so it does no harm to look.
    return asked >= polls_.size() || polls_[asked].revents != 0;
  }

  const Duration kill_grace_;
  const bool use_pidfd_;
  const std::uint64_t generation_ = watch_fork_generation();

  std::mutex mutex_;
  std::thread thread_;                       // under the mutex; started with the first process
  Pipe wake_;                                // opened before the thread
  IntrusiveList<Process> arrived_;           // under the mutex
  std::map<Process*, std::thread> waiters_;  // under the mutex: one for each process without a pidfd
  std::atomic<bool> leaving_{false};

  // The thread's.
  IntrusiveList<Process> running_;
  std::vector<pollfd> polls_;  // of `wake_`, then of `running_` in their order
  std::array<char, std::size_t{1} << 16> buffer_;
};

// -- On the threads of those who start and stop processes ------------------------------------------------------------

void ProcessMonitor::Implementation::start(Process& process, const ExecutableTask& task) {
  start_thread();
  Spawned child = spawn(task);
  process.pid = child.pid;
  process.limit = task.output_limit;
  process.leader = use_pidfd_ ? open_pidfd(child.pid) : -1;
  if (process.leader < 0) {
    try {
      start_waiter(process);
    } catch (...) {
      siginfo_t info;
      ::kill(-process.pid, SIGKILL);
      wait_for(process.pid, info, 0);
      throw;
    }
  }
  process.pipes = {child.output.release(), child.error.release()};
  {
    const std::lock_guard lock(mutex_);
    arrived_.push_back(process);
  }
  wake();
}

void ProcessMonitor::Implementation::start_thread() {
  const std::lock_guard lock(mutex_);
  if (thread_.joinable()) return;
  if (wake_.writer.number() < 0) {
    wake_ = open_pipe();
    ::fcntl(wake_.writer.number(), F_SETFL, O_NONBLOCK);
  }
  const SignalsBlocked blocked;
  try {
    thread_ = std::thread([self = shared_from_this()] { self->run(); });
  } catch (const std::system_error& error) {
    throw std::system_error(error.code(), "cannot start the thread that waits for child processes");
  }
}

// Where there is no pidfd, or no descriptor for one: a thread that waits for this child, and leaves it to be reaped.
void ProcessMonitor::Implementation::start_waiter(Process& process) {
  const std::lock_guard lock(mutex_);
  std::thread& waiter = waiters_[&process];
  const SignalsBlocked blocked;
  try {
    waiter = std::thread([this, &process] {
      siginfo_t info;
      wait_for(process.pid, info, WNOWAIT);
      process.leader_reported.store(true, std::memory_order_seq_cst);  // pairs with attend()
      wake();                                                          // both are there until this thread is joined
    });
  } catch (const std::system_error& error) {
    waiters_.erase(&process);
    throw std::system_error(error.code(), "cannot start the thread that waits for a child process");
  } catch (...) {  // no memory
    waiters_.erase(&process);
    throw;
  }
}

void ProcessMonitor::Implementation::wake() const noexcept {
  const int error = errno;
  // Either it fits in, or the pipe is full and the thread wakes anyway.
  while (::write(wake_.writer.number(), "", 1) < 0 && errno == EINTR) {
  }
  errno = error;
}

void ProcessMonitor::Implementation::leave() noexcept {
  std::unique_lock lock(mutex_);
  std::thread thread = std::move(thread_);
  lock.unlock();
  if (!thread.joinable()) return;
  leaving_.store(true, std::memory_order_seq_cst);  // pairs with run()
  wake();
  if (thread.get_id() == std::this_thread::get_id()) {
    thread.detach();  // called by the last `ended`: it leaves right after that
  } else {
    thread.join();
  }
}

// -- On the monitor's thread -----------------------------------------------------------------------------------------

void ProcessMonitor::Implementation::run() noexcept {
  TimePoint due = TimePoint::max();
  while (!leaving_.load(std::memory_order_seq_cst)) {  // pairs with leave()
    sleep(due);
    admit();
    due = attend();
  }
}

// Until there is news, or something is due.
void ProcessMonitor::Implementation::sleep(TimePoint until) noexcept {
  int timeout = -1;
  if (until != TimePoint::max()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    timeout = static_cast<int>(std::clamp<decltype(left)>(left, 0, std::numeric_limits<int>::max()));
  }
  polls_.clear();
  try {
    const auto add = [this](int descriptor) {
      if (descriptor >= 0) polls_.push_back({descriptor, POLLIN, 0});
    };
    add(wake_.reader.number());
    for (Process* process = running_.front(); process != nullptr; process = process->next) {
      add(process->leader);
      for (const int pipe : process->pipes) add(pipe);
    }
    if (::poll(polls_.data(), static_cast<nfds_t>(polls_.size()), timeout) >= 0 || errno == EINTR) return;
  } catch (...) {  // no memory
  }
  // The application may have lowered its limit below the number of descriptors it has: then look at each of them now
  // and then, until it is better.
  polls_.clear();
  std::this_thread::sleep_for(10ms);
}

// After the tokens are taken: who brings news after this has left another.
void ProcessMonitor::Implementation::admit() noexcept {
  while (::read(wake_.reader.number(), buffer_.data(), buffer_.size()) < 0 && errno == EINTR) {
  }
  const std::lock_guard lock(mutex_);
  while (Process* process = arrived_.pop_front()) running_.push_back(*process);
}

// Gives when it must do so again at the latest.
TimePoint ProcessMonitor::Implementation::attend() noexcept {
  TimePoint due = TimePoint::max();
  std::size_t next_poll = 1;
  Process* following = nullptr;
  for (Process* process = running_.front(); process != nullptr; process = following) {
    following = process->next;
    const bool exited = has_news(process->leader, next_poll) ||
                        process->leader_reported.load(std::memory_order_seq_cst);  // pairs with start_waiter()
    for (std::size_t which = 0; which < 2; ++which) {
      // One piece each, so that nobody who writes a lot keeps the others waiting.
      if (has_news(process->pipes[which], next_poll)) read_some(*process, which);
    }
    if (exited) look_at_leader(*process);
    if (is_over(*process)) {
      running_.remove(*process);
      process->ended(*process);
    } else {
      due = std::min(due, process->due);
    }
  }
  return due;
}

// Takes it further, and says whether nothing of it is left.
bool ProcessMonitor::Implementation::is_over(Process& process) noexcept {
  using Phase = Process::Phase;
  if (process.phase == Phase::running && process.stop_asked.load(std::memory_order_seq_cst)) {  // pairs with stop()
    look_at_leader(process);
    process.end.stopped = !process.leader_exited;
    signal_group(process, SIGTERM);
    signal_group(process, SIGCONT);  // or one that is stopped would not notice
    process.phase = Phase::terminated;
    process.due = deadline_after(kill_grace_);
  }
  if (process.phase == Phase::terminated && process.due <= Clock::now()) {
    signal_group(process, SIGKILL);
    process.phase = Phase::killed;
    process.due = TimePoint::max();
  }
  if (!process.leader_exited) return false;

  if (process.phase == Phase::killed) {
    // Who has a pipe open now left the group, and may do so for ever. But take what is in it: a mebibyte at most.
    for (std::size_t which = 0; which < 2; ++which) {
      for (int piece = 0; piece < 16 && read_some(process, which); ++piece) {
      }
      close_pipe(process.pipes[which]);
    }
  }
  if (process.pipes[0] >= 0 || process.pipes[1] >= 0) return false;

  if (process.phase != Phase::reaped) {
    const bool stopping = process.phase != Phase::running;
    if (stopping) signal_group(process, SIGKILL);  // those that have no pipe
    siginfo_t info;
    wait_for(process.pid, info, WNOHANG);  // reaps it
    if (!stopping) return true;
    process.phase = Phase::reaped;
    process.delay = 1ms;
    process.give_up = deadline_after(patience);
  } else {
    process.delay *= 2;
  }
  const TimePoint now = Clock::now();
  process.due = now + process.delay;
  return now >= process.give_up || is_dead_group(process.pid, process.delay > 4ms);
}

void ProcessMonitor::Implementation::look_at_leader(Process& process) noexcept {
  siginfo_t info;
  if (process.leader_exited) return;
  const int result = wait_for(process.pid, info, WNOHANG | WNOWAIT);
  if (result == 0 && info.si_pid == 0) return;
  process.leader_exited = true;
  if (result != 0) {
    // Nobody knows: the application ignores SIGCHLD, or has reaped it.
    process.end.exit_code = -1;
    // Its group can be told from another's only now, when it must still be the same.
    if (process.phase != Process::Phase::running) ::kill(-process.pid, SIGKILL);
  } else if (info.si_code == CLD_EXITED) {
    process.end.exit_code = info.si_status;
  } else {
    process.end.term_signal = info.si_status;
    process.end.exit_code = 128 + info.si_status;
  }

  close_pipe(process.leader);
  std::unique_lock lock(mutex_);
  auto waiter = waiters_.extract(&process);
  lock.unlock();
  if (!waiter.empty()) waiter.mapped().join();  // it knows as well
}

// False when there is nothing to read now. At the end it closes the pipe.
bool ProcessMonitor::Implementation::read_some(Process& process, std::size_t which) noexcept {
  int& pipe = process.pipes[which];
  if (pipe < 0) return false;
  ssize_t count = 0;
  do {
    count = ::read(pipe, buffer_.data(), buffer_.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0 && errno == EAGAIN) return false;
  if (count <= 0) {
    close_pipe(pipe);
    return false;
  }
  std::string& text = which == 0 ? process.end.standard_output : process.end.standard_error;
  const std::size_t room = process.limit - std::min(process.limit, text.size());
  const std::size_t kept = std::min(room, static_cast<std::size_t>(count));
  if (kept < static_cast<std::size_t>(count)) process.end.truncated = true;
  try {
    text.append(buffer_.data(), kept);
  } catch (...) {  // no memory: what there is must do
    process.end.truncated = true;
    process.limit = 0;
  }
  return true;
}

// --------------------------------------------------------------------------------------------------------------------

ProcessMonitor::ProcessMonitor(Duration kill_grace, bool use_pidfd)
    : implementation_(std::make_shared<Implementation>(kill_grace, use_pidfd)) {}

ProcessMonitor::~ProcessMonitor() {
  // In the child of a fork the threads are not there, and what they held is as they left it: their share keeps it so.
  if (!implementation_->from_before_fork()) implementation_->leave();
}

void ProcessMonitor::start(Process& process, const ExecutableTask& task) {
  if (implementation_->from_before_fork()) {
    throw ExecutorShutdownError("the executor belongs to the process before the fork");
  }
  const auto implementation = implementation_;  // `ended` may destroy the monitor before we return
  implementation->start(process, task);
}

void ProcessMonitor::stop(Process& process) noexcept {
  if (implementation_->from_before_fork()) return;
  const auto implementation = implementation_;                // as in start()
  process.stop_asked.store(true, std::memory_order_seq_cst);  // pairs with is_over()
  implementation->wake();
}

}  // namespace cohort::detail

#else

namespace cohort::detail {

class ProcessMonitor::Implementation {};

ProcessMonitor::ProcessMonitor(Duration, bool) {}
ProcessMonitor::~ProcessMonitor() = default;
void ProcessMonitor::start(Process&, const ExecutableTask&) {
  throw TaskError("child processes are not supported on this system");
}
void ProcessMonitor::stop(Process&) noexcept {}

}  // namespace cohort::detail
#endif
