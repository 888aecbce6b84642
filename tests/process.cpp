// Child processes, as the monitor starts them, reads them, stops them and reaps them.
#include "../src/process.hpp"
#include "../src/process_group.hpp"

#include "catch.hpp"
#include "support.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>           // for max
#include <atomic>              // for atomic
#include <cerrno>              // for errno
#include <chrono>              // for milliseconds
#include <condition_variable>  // for condition_variable
#include <csignal>             // for kill
#include <cstddef>             // for size_t
#include <cstdlib>             // for mkdtemp
#include <ctime>               // for clock_gettime
#include <deque>               // for deque
#include <filesystem>          // for path
#include <fstream>             // for ifstream
#include <iterator>            // for istreambuf_iterator
#include <map>                 // for map
#include <memory>              // for unique_ptr
#include <mutex>               // for mutex
#include <optional>            // for optional
#include <stdexcept>           // for invalid_argument
#include <string>              // for string
#include <system_error>        // for system_error
#include <thread>              // for jthread
#include <utility>             // for move
#include <vector>              // for vector

using namespace cohort;
using namespace test;
using detail::Process;
using detail::ProcessEnd;
using detail::ProcessMonitor;
using namespace std::chrono_literals;
using Environment = std::map<std::string, std::string>;

namespace {

/// A process that can be waited for.
class Child : public Process {
 public:
  Child() {
    ended = [](Process& process) noexcept {
      auto& child = static_cast<Child&>(process);
      const std::lock_guard lock(child.mutex_);
      ++child.times_;
      child.changed_.notify_all();
    };
  }

  ProcessEnd& wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return times_ > 0; });
    return end;
  }
  bool wait_for(Duration duration) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, duration, [this] { return times_ > 0; });
  }
  int times() {
    const std::lock_guard lock(mutex_);
    return times_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int times_ = 0;
};

ExecutableTask program(std::string name, std::vector<std::string> arguments = {}) {
  ExecutableTask task;
  task.program = std::move(name);
  task.arguments = std::move(arguments);
  return task;
}

ExecutableTask shell(std::string command) {
  ExecutableTask task;
  task.program = std::move(command);
  task.shell = true;
  return task;
}

ProcessEnd run(ProcessMonitor& monitor, const ExecutableTask& task) {
  Child child;
  monitor.start(child, task);
  return std::move(child.wait());
}

ProcessEnd run(const ExecutableTask& task) {
  ProcessMonitor monitor(5s);
  return run(monitor, task);
}

/// A directory that is removed with what is in it.
class Directory {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "cohort-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no directory");
    path_ = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path_); }

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator numbers("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(numbers, std::filesystem::directory_iterator()));
}

/// Whether this process has a child, a zombie or not.
bool has_children() {
  siginfo_t info;
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/// The state in the process table: 'S', 'T', 'Z' and so on; 0 when it is not there.
char state_of(int pid) {
  const std::string line = content("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t name_end = line.rfind(')');
  return name_end == std::string::npos ? '\0' : line[name_end + 2];
}

Duration cpu_time() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

/// Whether it runs no more. Who is dead may have to wait until init takes notice.
bool is_dead(int pid) { return state_of(pid) == '\0' || state_of(pid) == 'Z'; }

/// Waits until `path` has a line, and gives the number in it.
int number_in(const std::string& path) {
  eventually([&] { return content(path).find('\n') != std::string::npos; });
  return std::stoi(content(path));
}

template <class Error = std::system_error>
Error failure_of(ProcessMonitor& monitor, const ExecutableTask& task) {
  Child child;
  try {
    monitor.start(child, task);
  } catch (const Error& error) {
    return error;
  }
  child.wait();
  throw std::runtime_error("it was started");
}

}  // namespace

TEST_CASE("a process ends with its exit code and what it wrote") {
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(5s, use_pidfd);
  Child child;
  monitor.start(child, shell("echo out; echo err >&2; exit 3"));
  REQUIRE(child.pid > 0);
  const ProcessEnd& end = child.wait();
  REQUIRE(end.exit_code == 3);
  REQUIRE(end.term_signal == 0);
  REQUIRE(end.standard_output == "out\n");
  REQUIRE(end.standard_error == "err\n");
  REQUIRE_FALSE(end.truncated);
  REQUIRE_FALSE(end.stopped);
  REQUIRE(child.times() == 1);
  REQUIRE_FALSE(has_children());
}

TEST_CASE("a process that a signal ended says which") {
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(5s, use_pidfd);
  const ProcessEnd end = run(monitor, shell("kill -USR1 $$"));
  REQUIRE(end.term_signal == SIGUSR1);
  REQUIRE(end.exit_code == 128 + SIGUSR1);
  REQUIRE_FALSE(end.stopped);
}

TEST_CASE("arguments reach the program as they are") {
  const ProcessEnd end = run(program("printf", {"<%s>", "", "a b", "*", "$HOME", "'\"\\", "\xff\n"}));
  REQUIRE(end.standard_output == "<><a b><*><$HOME><'\"\\><\xff\n>");
}

TEST_CASE("a command line for the shell has positional parameters, and a name") {
  ExecutableTask task = shell("echo \"$0 $# $2\"");
  task.arguments = {"one", "two  three"};
  REQUIRE(run(task).standard_output == "sh 2 two  three\n");
  REQUIRE(run(shell("-nonsense")).exit_code == 127);  // a command, not an option
}

TEST_CASE("a program is looked for in the path of this process, or where its path says") {
  Directory directory;
  write_file(directory / "tool", "#!/bin/sh\necho \"$0\"\n");
  ::chmod((directory / "tool").c_str(), 0700);
  const std::string absolute = directory / "tool";
  REQUIRE(run(program(absolute)).standard_output == absolute + "\n");
  ExecutableTask relative = program("./tool");
  relative.working_directory = directory.path();
  REQUIRE(run(relative).standard_output == "./tool\n");

  const std::string before = ::getenv("PATH");
  ::setenv("PATH", (before + ":" + directory.path()).c_str(), 1);
  ExecutableTask named = program("tool");
  named.environment.emplace();  // the child's has no say
  const ProcessEnd end = run(named);
  ::setenv("PATH", before.c_str(), 1);
  REQUIRE(end.standard_output == absolute + "\n");
}

TEST_CASE("a process has the environment of this one, or the one it is given") {
  ::setenv("COHORT_TEST_VARIABLE", "inherited", 1);
  ExecutableTask task = program("env");
  REQUIRE_THAT(run(task).standard_output, contains("COHORT_TEST_VARIABLE=inherited\n"));
  task.environment = Environment{{"A", "1=2\n3"}, {"B", ""}};
  REQUIRE(run(task).standard_output == "A=1=2\n3\nB=\n");
  task.environment->clear();
  REQUIRE(run(task).standard_output.empty());
  ::unsetenv("COHORT_TEST_VARIABLE");
}

TEST_CASE("a process runs in the directory it is given") {
  Directory directory;
  ExecutableTask task = program("pwd");
  REQUIRE(run(task).standard_output == std::filesystem::current_path().string() + "\n");
  task.working_directory = directory.path();
  REQUIRE(run(task).standard_output == directory.path() + "\n");
}

TEST_CASE("a process reads its standard input, of any size, whether it wants to or not") {
  REQUIRE(run(program("cat")).standard_output.empty());
  ExecutableTask task = program("cat");
  task.standard_input = std::string("a\0b\n", 4);
  REQUIRE(run(task).standard_output == task.standard_input);
  task.standard_input.assign(5'000'000, 'x');
  task.standard_input += "end";
  REQUIRE((run(task).standard_output == task.standard_input));
  task.program = "true";
  REQUIRE(run(task).exit_code == 0);
}

TEST_CASE("a process may write megabytes to both outputs at once") {
  const ProcessEnd end = run(shell("head -c 3000000 /dev/zero >&2 & head -c 4000000 /dev/zero; wait"));
  REQUIRE((end.standard_output == std::string(4'000'000, '\0')));
  REQUIRE((end.standard_error == std::string(3'000'000, '\0')));
  REQUIRE_FALSE(end.truncated);
}

TEST_CASE("no more output is kept than was asked for, and the process does not notice") {
  ExecutableTask task = shell("printf 12345; printf 123 >&2");
  task.output_limit = 4;
  ProcessEnd end = run(task);
  REQUIRE(end.standard_output == "1234");
  REQUIRE(end.standard_error == "123");
  REQUIRE(end.truncated);
  task.output_limit = 5;
  end = run(task);
  REQUIRE(end.standard_output == "12345");
  REQUIRE_FALSE(end.truncated);

  task = shell("head -c 1000000 /dev/zero && echo all >&2");
  task.output_limit = 100'000;
  end = run(task);
  REQUIRE(end.exit_code == 0);
  REQUIRE(end.standard_output.size() == 100'000);
  REQUIRE(end.standard_error == "all\n");
  REQUIRE(end.truncated);
}

TEST_CASE("outputs may go to files, which are emptied first") {
  Directory directory;
  write_file(directory / "out", "what was there before");
  ExecutableTask task = shell("echo out; echo err >&2");
  task.stdout_path = directory / "out";
  SECTION("one of them") {
    const ProcessEnd end = run(task);
    REQUIRE(end.standard_output.empty());
    REQUIRE(end.standard_error == "err\n");
    REQUIRE(content(directory / "out") == "out\n");
  }
  SECTION("both") {
    task.stderr_path = directory / "err";
    run(task);
    REQUIRE(content(directory / "out") == "out\n");
    REQUIRE(content(directory / "err") == "err\n");
  }
  SECTION("both to the same, in the order written") {
    task.program += "; echo more";
    task.stderr_path = directory / "out";
    run(task);
    REQUIRE(content(directory / "out") == "out\nerr\nmore\n");
  }
}

TEST_CASE("a process gets the descriptors 0, 1 and 2 and no other") {
  const int leaky = ::open("/dev/null", O_RDONLY);
  const int high = ::fcntl(leaky, F_DUPFD, 200);
  const int cloexec = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ProcessMonitor monitor(5s);
  Child other;
  monitor.start(other, program("sleep", {"60"}));
  ExecutableTask task = program("ls", {"/proc/self/fd"});  // 3 is the directory
  const bool file = GENERATE(true, false);
  Directory directory;
  if (file) {
    task.standard_input = "input";
    task.stderr_path = directory / "err";
  }
  REQUIRE(run(monitor, task).standard_output == "0\n1\n2\n3\n");
  monitor.stop(other);
  other.wait();
  for (const int number : {leaky, high, cloexec}) ::close(number);
}

TEST_CASE("processes can be started where the application has closed its own descriptors") {
  for (int closed = 1; closed < 8; ++closed) {
    const int code = in_child([closed] {
      for (int number = 0; number < 3; ++number) {
        if ((closed & (1 << number)) != 0) ::close(number);
      }
      {
        ProcessMonitor monitor(5s);
        ExecutableTask task = shell("cat; echo out; echo err >&2; ls /proc/self/fd");
        task.standard_input = "in\n";
        for (int i = 0; i < 2; ++i) {
          const ProcessEnd end = run(monitor, task);
          if (end.standard_output != "in\nout\n0\n1\n2\n3\n" || end.standard_error != "err\n") return 1;
        }
        task.standard_input.clear();
        if (run(monitor, task).standard_output != "out\n0\n1\n2\n3\n") return 2;
      }
      for (int number = 0; number < 3; ++number) {  // and nothing of ours is in their place
        if (((closed & (1 << number)) != 0) != (::fcntl(number, F_GETFD) < 0)) return 3;
      }
      return 0;
    });
    INFO("closed: " << closed);
    REQUIRE(code == 0);
  }
}

TEST_CASE("a process has its own group, no signal blocked, and SIGPIPE as it is by default") {
  sigset_t signals, before;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGUSR1);
  ::sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, &before);
  const auto pipe_before = std::signal(SIGPIPE, SIG_IGN);
  const auto user_before = std::signal(SIGUSR2, SIG_IGN);
  ProcessMonitor monitor(5s);
  Child child;
  monitor.start(child, shell("grep -E 'SigBlk|SigIgn' /proc/self/status; cut -d' ' -f5 /proc/$$/stat"));
  const int pid = child.pid;
  const ProcessEnd& end = child.wait();
  std::signal(SIGPIPE, pipe_before);
  std::signal(SIGUSR2, user_before);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  const auto mask = [&](const std::string& name) {
    return std::stoull(end.standard_output.substr(end.standard_output.find(name) + name.size()), nullptr, 16);
  };
  REQUIRE(mask("SigBlk:") == 0);
  REQUIRE((mask("SigIgn:") & (1ULL << (SIGPIPE - 1))) == 0);
  REQUIRE((mask("SigIgn:") & (1ULL << (SIGUSR2 - 1))) != 0);  // the others are the application's
  REQUIRE_THAT(end.standard_output, contains("\n" + std::to_string(pid) + "\n"));
}

TEST_CASE("a task that cannot be the start of a process is refused") {
  ProcessMonitor monitor(5s);
  const auto refused = [&](const ExecutableTask& task) {
    return std::string(failure_of<std::invalid_argument>(monitor, task).what());
  };
  const std::string nul("a\0b", 3);
  REQUIRE(refused(program("")) == "program must not be empty");
  REQUIRE(refused(shell("")) == "program must not be empty");
  REQUIRE(refused(program(nul)) == "program must not contain a NUL byte");
  REQUIRE(refused(program("true", {"a", nul})) == "arguments[1] must not contain a NUL byte");
  ExecutableTask task = program("true");
  task.working_directory = nul;
  REQUIRE(refused(task) == "working_directory must not contain a NUL byte");
  task = program("true");
  task.stdout_path = nul;
  REQUIRE(refused(task) == "stdout_path must not contain a NUL byte");
  task = program("true");
  task.stderr_path = nul;
  REQUIRE(refused(task) == "stderr_path must not contain a NUL byte");
  task = program("true");
  task.environment = Environment{{"", "x"}};
  REQUIRE(refused(task) == "a name in environment must not be empty");
  task.environment = Environment{{"A=B", "x"}};
  REQUIRE(refused(task) == "the name \"A=B\" in environment must not contain '='");
  task.environment = Environment{{nul, "x"}};
  REQUIRE(refused(task) == "a name in environment must not contain a NUL byte");
  task.environment = Environment{{"A", nul}};
  REQUIRE(refused(task) == "the value of \"A\" in environment must not contain a NUL byte");
}

TEST_CASE("what cannot be started says why") {
  Directory directory;
  write_file(directory / "text", "text");
  const std::size_t before = open_descriptors();
  {
    ProcessMonitor monitor(5s);
    const auto fails = [&](const ExecutableTask& task, std::errc code, const std::string& text) {
      const std::system_error error = failure_of(monitor, task);
      INFO(error.what());
      REQUIRE((error.code() == code));
      REQUIRE_THAT(error.what(), contains(text + ": "));
    };
    using std::errc;
    fails(program("no-such-program"), errc::no_such_file_or_directory, "cannot start \"no-such-program\"");
    fails(program("/no/such"), errc::no_such_file_or_directory, "cannot start \"/no/such\"");
    fails(program(directory / "text"), errc::permission_denied, "cannot start \"" + (directory / "text") + "\"");
    fails(program("true", {std::string(10'000'000, 'x')}), errc::argument_list_too_long, "cannot start \"true\"");

    ExecutableTask task = program("no-such-program");
    task.working_directory = directory.path();
    fails(task, errc::no_such_file_or_directory, "cannot start \"no-such-program\"");
    task.program = "true";
    task.working_directory = "/nowhere";
    fails(task, errc::no_such_file_or_directory, "cannot run \"true\" in \"/nowhere\"");
    task.working_directory = directory / "text";
    fails(task, errc::not_a_directory, "cannot run \"true\" in \"" + (directory / "text") + "\"");

    task = program("true");
    task.stdout_path = "/nowhere/out";
    fails(task, errc::no_such_file_or_directory, "cannot open \"/nowhere/out\"");
    task = program("true");
    task.stderr_path = directory.path();
    fails(task, errc::is_a_directory, "cannot open \"" + directory.path() + "\"");
    REQUIRE_FALSE(has_children());
    REQUIRE(run(monitor, program("true")).exit_code == 0);
  }
  REQUIRE(open_descriptors() == before);
}

TEST_CASE("where descriptors run out a start fails or succeeds, and leaves nothing behind") {
  if (address_sanitizer) {
    WARN("not with this sanitizer: its checks of virtual calls need descriptors themselves");
    return;
  }
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(5s, use_pidfd);
  ExecutableTask task = shell("cat; exit 4");
  task.standard_input = "input";
  REQUIRE(run(monitor, task).exit_code == 4);
  const std::size_t before = open_descriptors();

  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const int lowest = ::dup(0);  // what is free begins here
  ::close(lowest);
  int failures = 0, successes = 0;
  for (int room = 0; room < 30; ++room) {
    const rlimit lowered{static_cast<rlim_t>(lowest + room), limit.rlim_max};
    std::exception_ptr error;
    Child child;
    ::setrlimit(RLIMIT_NOFILE, &lowered);
    try {
      monitor.start(child, task);
      child.wait();
    } catch (...) {
      error = std::current_exception();  // looked at later: a sanitizer needs descriptors for that
    }
    ::setrlimit(RLIMIT_NOFILE, &limit);
    std::string outcome = "ended";
    try {
      if (error != nullptr) std::rethrow_exception(error);
    } catch (const std::system_error& what) {
      outcome = what.code() == std::errc::too_many_files_open ? "EMFILE" : what.what();
    }
    INFO("room for " << room);
    if (outcome == "EMFILE") ++failures;
    if (outcome == "ended") {
      ++successes;
      REQUIRE(child.end.exit_code == 4);
      REQUIRE(child.end.standard_output == "input");
    } else {
      REQUIRE(outcome == "EMFILE");
      REQUIRE(successes == 0);
    }
    REQUIRE(open_descriptors() == before);
    REQUIRE_FALSE(has_children());
    REQUIRE(run(monitor, task).exit_code == 4);
  }
  // An input and two pipes; without room for a pidfd a thread waits. More where others have a number in between.
  REQUIRE(failures >= 5);
  REQUIRE(successes >= 1);
}

TEST_CASE("processes end where the limit of descriptors was lowered below their number") {
  const std::size_t before = open_descriptors();
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  {
    ProcessMonitor monitor(5s);
    std::deque<Child> children(8);
    for (Child& child : children) monitor.start(child, shell("sleep 0.2; echo done"));
    const rlimit lowered{5, limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &lowered);
    for (Child& child : children) child.wait();
    ::setrlimit(RLIMIT_NOFILE, &limit);
    for (Child& child : children) REQUIRE(child.end.standard_output == "done\n");
  }
  REQUIRE(open_descriptors() == before);
}

TEST_CASE("where no thread can be made a start fails, and no child is left", "[R10]") {
  if (sanitized) return;  // they need all the addresses there are
  const bool use_pidfd = GENERATE(true, false);
  const int code = in_child([use_pidfd] {
    ProcessMonitor monitor(5s, use_pidfd);
    Child before_that, first, second;
    if (!use_pidfd) {
      // The monitor's own thread is made for this, and the next is that of a child. When it has ended that thread has all
      // the memory it wants: malloc's part for a new thread is larger than what is left below.
      monitor.start(before_that, program("true"));
      if (before_that.wait().exit_code != 0) return 1;
    }
    rlimit before{};
    ::getrlimit(RLIMIT_AS, &before);
    const std::size_t used =
        std::stoul(content("/proc/self/statm")) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const rlimit lowered{used + (4 << 20), before.rlim_max};  // but no stack of a thread
    ::setrlimit(RLIMIT_AS, &lowered);
    Gate gate;
    std::deque<std::jthread> threads;  // until the stacks of threads that have ended are used up, too
    try {
      while (threads.size() < 1000) threads.emplace_back([&] { gate.wait(); });
    } catch (const std::system_error&) {
    }
    if (threads.size() == 1000) gate.open();
    const std::size_t descriptors = use_pidfd ? 2 + open_descriptors() : open_descriptors();
    try {
      monitor.start(first, program("sleep", {"60"}));
      ::_exit(2);
    } catch (const std::system_error& error) {
      if (error.code() != std::errc::resource_unavailable_try_again) return 3;
      if (std::string(error.what()).find("cannot start the thread") != 0) return 4;
    }
    if (has_children()) return 5;
    if (open_descriptors() != descriptors) return 6;
    gate.open();
    threads.clear();
    ::setrlimit(RLIMIT_AS, &before);
    monitor.start(second, program("true"));
    return second.wait().exit_code;
  });
  REQUIRE(code == 0);
}

TEST_CASE("a process has ended when its outputs are closed, by whoever has them") {
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(5s, use_pidfd);
  const ProcessEnd end = run(monitor, shell("(sleep 0.2; echo late) & exit 3"));
  REQUIRE(end.exit_code == 3);
  REQUIRE(end.standard_output == "late\n");

  Directory directory;
  const Stopwatch watch;
  run(monitor, shell("sleep 20 >/dev/null 2>&1 & echo $! >" + (directory / "pid")));
  REQUIRE(watch.elapsed() < 10s);
  const int daemon = number_in(directory / "pid");
  REQUIRE(::kill(daemon, SIGKILL) == 0);  // nobody asked for its end
}

TEST_CASE("a process may close its outputs long before it exits") {
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(5s, use_pidfd);
  const ProcessEnd end = run(monitor, shell("echo out; exec >&- 2>&-; sleep 0.1; exit 6"));
  REQUIRE(end.exit_code == 6);
  REQUIRE(end.standard_output == "out\n");
}

TEST_CASE("a process that is asked to stop gets SIGTERM, and may still say something") {
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(Duration::max(), use_pidfd);
  Child deaf, polite;
  monitor.start(deaf, program("sleep", {"60"}));
  monitor.stop(deaf);
  monitor.stop(deaf);
  REQUIRE(deaf.wait().term_signal == SIGTERM);
  REQUIRE(deaf.end.exit_code == 128 + SIGTERM);
  REQUIRE(deaf.end.stopped);

  Directory directory;
  monitor.start(
      polite, shell("trap 'echo bye; exit 7' TERM; echo >" + (directory / "ready") + "; while :; do sleep 0.01; done"));
  REQUIRE(eventually([&] { return std::filesystem::exists(directory / "ready"); }));
  monitor.stop(polite);
  REQUIRE(polite.wait().exit_code == 7);
  REQUIRE(polite.end.standard_output == "bye\n");
  REQUIRE(polite.end.stopped);
  REQUIRE(polite.times() == 1);
}

TEST_CASE("a process that does not mind SIGTERM gets SIGKILL, after the grace") {
  const bool use_pidfd = GENERATE(true, false);
  const Duration grace = GENERATE(as<Duration>(), 100ms, 0ms);
  ProcessMonitor monitor(grace, use_pidfd);
  Directory directory;
  Child child;
  monitor.start(child, shell("trap '' TERM; echo >" + (directory / "ready") + "; while :; do sleep 0.01; done"));
  REQUIRE(eventually([&] { return std::filesystem::exists(directory / "ready"); }));
  const Stopwatch watch;
  monitor.stop(child);
  REQUIRE(child.wait().term_signal == SIGKILL);
  REQUIRE(watch.elapsed() >= grace);
  REQUIRE(child.end.exit_code == 128 + SIGKILL);
  REQUIRE(child.end.stopped);
}

TEST_CASE("a process that is suspended can be stopped") {
  ProcessMonitor monitor(Duration::max());
  Child child;
  monitor.start(child, shell("kill -STOP $$"));
  REQUIRE(eventually([&] { return state_of(child.pid) == 'T'; }));
  monitor.stop(child);
  REQUIRE(child.wait().term_signal == SIGTERM);
}

TEST_CASE("to stop a process that has ended does nothing") {
  ProcessMonitor monitor(5s);
  Child child;
  monitor.start(child, program("true"));
  child.wait();
  monitor.stop(child);
  REQUIRE(run(monitor, program("true")).exit_code == 0);  // so the monitor has been there
  REQUIRE_FALSE(child.end.stopped);
  REQUIRE(child.times() == 1);
}

TEST_CASE("nobody of its group is left when a stopped process has ended") {
  const bool use_pidfd = GENERATE(true, false);
  Directory directory;
  ProcessMonitor monitor(60s, use_pidfd);
  Child child;
  SECTION("who has its outputs") {
    monitor.start(child, shell("sleep 60 & echo $! >" + (directory / "pid") + "; sleep 60"));
  }
  SECTION("who has not, and does not mind SIGTERM") {
    monitor.start(child, shell("(trap '' TERM; exec sleep 60 >/dev/null 2>&1) & echo $! >" + (directory / "pid") +
                               "; sleep 0.1; exec sleep 60"));
  }
  const int member = number_in(directory / "pid");
  std::this_thread::sleep_for(50ms);
  const Stopwatch watch;
  monitor.stop(child);
  REQUIRE(child.wait().stopped);
  REQUIRE(is_dead(member));
  REQUIRE(watch.elapsed() < 20s);  // it did not take the grace
}

TEST_CASE("a group of which only zombies are left is dead, whether somebody takes notice or not") {
  const pid_t leader = ::fork();
  if (leader == 0) {
    ::setpgid(0, 0);
    ::_exit(0);
  }
  REQUIRE(eventually([&] { return state_of(leader) == 'Z'; }));
  CHECK_FALSE(detail::is_dead_group(leader, false));
  CHECK(detail::is_dead_group(leader, true));
  REQUIRE(::waitpid(leader, nullptr, 0) == leader);
  REQUIRE(detail::is_dead_group(leader, false));
}

TEST_CASE("a stop reaches those who have the outputs after the process itself has exited") {
  const bool use_pidfd = GENERATE(true, false);
  const bool minds = GENERATE(true, false);
  Directory directory;
  ProcessMonitor monitor(100ms, use_pidfd);
  Child child;
  monitor.start(child, shell((minds ? std::string() : std::string("trap '' TERM;")) + "sleep 60 & echo $! >" +
                             (directory / "pid") + "; exit 5"));
  const int member = number_in(directory / "pid");
  REQUIRE(eventually([&] { return state_of(child.pid) == 'Z'; }));
  monitor.stop(child);
  REQUIRE(child.wait().exit_code == 5);
  REQUIRE_FALSE(child.end.stopped);
  REQUIRE(is_dead(member));
}

TEST_CASE("a stop does not wait for who took the outputs away from the group") {
  const bool use_pidfd = GENERATE(true, false);
  Directory directory;
  ProcessMonitor monitor(20ms, use_pidfd);
  Child child;
  monitor.start(child, shell("echo first; setsid sleep 60 & echo $! >" + (directory / "pid") + "; sleep 60"));
  const int stranger = number_in(directory / "pid");
  REQUIRE(eventually([&] { return ::getpgid(stranger) == stranger; }));
  const Stopwatch watch;
  monitor.stop(child);
  REQUIRE(child.wait().stopped);
  REQUIRE(watch.elapsed() < 20s);
  REQUIRE(child.end.standard_output == "first\n");
  REQUIRE(::kill(stranger, SIGKILL) == 0);
}

TEST_CASE("a monitor whose processes sleep does nothing", "[R15]") {
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(5s, use_pidfd);
  std::deque<Child> children(10);
  for (Child& child : children) monitor.start(child, program("sleep", {"60"}));
  // Once it has settled, which may take its time on a busy machine.
  REQUIRE(eventually([] {
    const Duration before = cpu_time();
    std::this_thread::sleep_for(500ms);
    return cpu_time() - before < (thread_sanitizer ? 100ms : 10ms);  // it has a thread of its own
  }));
  for (Child& child : children) monitor.stop(child);
  for (Child& child : children) REQUIRE(child.wait().stopped);
}

TEST_CASE("many threads start processes at once") {
  const bool use_pidfd = GENERATE(true, false);
  const std::size_t before = open_descriptors();
  std::atomic<int> wrong = 0;
  {
    ProcessMonitor monitor(5s, use_pidfd);
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 8; ++thread) {
      threads.emplace_back([&, thread] {
        std::deque<Child> children(static_cast<std::size_t>(scaled(20) + 2));
        int number = 0;
        for (Child& child : children) {
          ExecutableTask task = shell("cat; exit $1");
          task.standard_input = std::to_string(thread) + " " + std::to_string(number);
          task.arguments = {std::to_string(number++)};
          monitor.start(child, task);
        }
        number = 0;
        for (Child& child : children) {
          const ProcessEnd& end = child.wait();
          if (end.exit_code != number || child.times() != 1 ||
              end.standard_output != std::to_string(thread) + " " + std::to_string(number)) {
            ++wrong;
          }
          ++number;
        }
      });
    }
  }
  REQUIRE(wrong == 0);
  REQUIRE(open_descriptors() == before);
  REQUIRE_FALSE(has_children());
}

TEST_CASE("a stop may come at the very end of a process, or at its start") {
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(5s, use_pidfd);
  for (int round = 0; round < scaled(200); ++round) {
    Child child;
    monitor.start(child, program("true"));
    std::jthread stopper([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(round % 20 * 100));
      monitor.stop(child);
    });
    const ProcessEnd& end = child.wait();
    REQUIRE((end.exit_code == 0 || (end.stopped && end.term_signal == SIGTERM)));
    stopper.join();
    REQUIRE(child.times() == 1);
  }
  REQUIRE_FALSE(has_children());
}

TEST_CASE("a process whose status the application takes has an unknown exit code") {
  const bool use_pidfd = GENERATE(true, false);
  ProcessMonitor monitor(50ms, use_pidfd);
  Child child;
  SECTION("because it ignores SIGCHLD") {
    const auto before = std::signal(SIGCHLD, SIG_IGN);
    for (const char* command : {"echo out; exit 3", "echo out; sleep 0.1; exit 3"}) {
      const ProcessEnd end = run(monitor, shell(command));
      REQUIRE(end.exit_code == -1);
      REQUIRE(end.term_signal == 0);
      REQUIRE(end.standard_output == "out\n");
    }
    monitor.start(child, shell("sleep 60 & sleep 60"));
    monitor.stop(child);
    REQUIRE(child.wait().exit_code == -1);
    REQUIRE(child.end.stopped);
    std::signal(SIGCHLD, before);
  }
  SECTION("because it waits for it") {
    // Before the monitor can look at it: another's end keeps it busy.
    struct Busy : Process {
      Gate reached, released;
    } busy;
    busy.ended = [](Process& process) noexcept {
      static_cast<Busy&>(process).reached.open();
      static_cast<Busy&>(process).released.wait();
    };
    monitor.start(busy, program("true"));
    busy.reached.wait();
    monitor.start(child, shell("exit 3"));
    int status = 0;
    const bool taken = ::waitpid(child.pid, &status, 0) == child.pid;
    busy.released.open();
    REQUIRE(child.wait().exit_code == -1);
    REQUIRE(taken);
  }
  SECTION("and then it is asked to stop, with its outputs still open") {
    Directory directory;
    monitor.start(child, shell("sleep 60 & echo $! >" + (directory / "pid")));
    const int member = number_in(directory / "pid");
    int status = 0;
    REQUIRE(::waitpid(child.pid, &status, 0) == child.pid);
    monitor.stop(child);
    const int code = child.wait().exit_code;
    REQUIRE((code == -1 || code == 0));     // the monitor may have seen it before
    REQUIRE(::kill(member, SIGKILL) == 0);  // its group was no longer known to be ours
  }
}

TEST_CASE("other children of the application are left alone") {
  const pid_t other = ::fork();
  if (other == 0) ::_exit(9);
  REQUIRE(eventually([&] { return state_of(other) == 'Z'; }));
  REQUIRE(run(program("true")).exit_code == 0);
  int status = 0;
  REQUIRE(::waitpid(other, &status, 0) == other);
  REQUIRE(WEXITSTATUS(status) == 9);
}

TEST_CASE("the last process may destroy the monitor when it ends", "[R16]") {
  struct Last : Process {
    std::unique_ptr<ProcessMonitor> monitor = std::make_unique<ProcessMonitor>(5s);
    Gate gone;
  };
  const std::size_t before = open_descriptors();
  {
    Last last;
    last.ended = [](Process& process) noexcept {
      static_cast<Last&>(process).monitor.reset();
      static_cast<Last&>(process).gone.open();
    };
    last.monitor->start(last, program("true"));
    last.gone.wait();
  }
  REQUIRE(eventually([&] { return open_descriptors() == before; }));
}

TEST_CASE("a process may start another when it ends", "[R16]") {
  struct Chain : Process {
    ProcessMonitor* monitor = nullptr;
    Child* then = nullptr;
  };
  ProcessMonitor monitor(5s);
  Child second;
  Chain first;
  first.monitor = &monitor;
  first.then = &second;
  first.ended = [](Process& process) noexcept {
    auto& chain = static_cast<Chain&>(process);
    chain.monitor->start(*chain.then, shell("echo second"));
  };
  monitor.start(first, program("true"));
  REQUIRE(second.wait().standard_output == "second\n");
}

TEST_CASE("in the child of a fork a monitor refuses to work, and can be destroyed", "[R14]") {
  auto monitor = std::make_unique<ProcessMonitor>(5s, GENERATE(true, false));
  Child child;
  monitor->start(child, program("sleep", {"60"}));
  const int code = in_child([&] {
    monitor->stop(child);  // does nothing
    Child other;
    try {
      monitor->start(other, program("true"));
      return 1;
    } catch (const ExecutorShutdownError&) {
    }
    monitor.reset();
    return 0;
  });
  REQUIRE(code == 0);
  REQUIRE_FALSE(child.wait_for(50ms));
  monitor->stop(child);
  REQUIRE(child.wait().stopped);
}

TEST_CASE("a fork while processes are started does not keep their outputs open") {
  int gate[2];
  REQUIRE(::pipe2(gate, O_CLOEXEC) == 0);
  std::atomic<bool> done{false};
  std::atomic<int> forks{0};
  std::vector<pid_t> forked;
  std::jthread forker([&] {
    while (!done && forked.size() < 200) {
      const pid_t pid = ::fork();
      if (pid == 0) {  // stays until the gate is closed
        ::close(gate[1]);
        char byte = 0;
        static_cast<void>(::read(gate[0], &byte, 1));
        ::_exit(0);
      }
      forked.push_back(pid);
      ++forks;
      std::this_thread::sleep_for(1ms);
    }
  });
  bool all = true;
  {
    ProcessMonitor monitor(0ms);
    std::deque<Child> children;
    // For as long as it takes until there have been forks meanwhile.
    while (children.size() < static_cast<std::size_t>(scaled(100)) || forks < 2)
      monitor.start(children.emplace_back(), program("true"));
    for (Child& child : children) {
      if (child.wait_for(patience)) continue;
      all = false;
      monitor.stop(child);
      child.wait();
    }
  }
  done = true;
  forker.join();
  ::close(gate[1]);
  ::close(gate[0]);
  for (const pid_t pid : forked) ::waitpid(pid, nullptr, 0);
  REQUIRE(all);
  REQUIRE(forked.size() > 1);
}
