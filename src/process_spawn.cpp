#if __has_include(<spawn.h>)
#include "process_spawn.hpp"

#include "fork_guard.hpp"

#include <cohort/detail/intrusive_list.hpp>

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>        // for std::array
#include <cerrno>       // for errno
#include <csignal>      // for SIGPIPE, sigemptyset
#include <cstddef>      // for std::size_t
#include <cstdlib>      // for mkostemp
#include <filesystem>   // for std::filesystem::temp_directory_path
#include <mutex>        // for std::mutex
#include <optional>     // for std::optional
#include <stdexcept>    // for std::invalid_argument
#include <string>       // for std::string
#include <string_view>  // for std::string_view
#include <vector>       // for std::vector

#if defined(__linux__)
#include <sys/mman.h>  // for memfd_create
#else
extern char** environ;
#endif

namespace cohort::detail {
namespace {

// -- What is asked for ----------------------------------------------------------------------------------------------

void refuse_nul(std::string_view text, const std::string& what) {
  if (text.find('\0') != std::string_view::npos) throw std::invalid_argument(what + " must not contain a NUL byte");
}

void check(const ExecutableTask& task) {
  if (task.program.empty()) throw std::invalid_argument("program must not be empty");
  refuse_nul(task.program, "program");
  for (std::size_t i = 0; i < task.arguments.size(); ++i) {
    refuse_nul(task.arguments[i], "arguments[" + std::to_string(i) + "]");
  }
  refuse_nul(task.working_directory, "working_directory");
  if (task.stdout_path) refuse_nul(*task.stdout_path, "stdout_path");
  if (task.stderr_path) refuse_nul(*task.stderr_path, "stderr_path");
  if (!task.environment) return;
  for (const auto& [name, value] : *task.environment) {
    if (name.empty()) throw std::invalid_argument("a name in environment must not be empty");
    refuse_nul(name, "a name in environment");
    if (name.find('=') != std::string::npos) {
      throw std::invalid_argument("the name \"" + name + "\" in environment must not contain '='");
    }
    refuse_nul(value, "the value of \"" + name + "\" in environment");
  }
}

// What exec takes: pointers to the strings, which must stay, and a null pointer.
std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> command_line(const ExecutableTask& task) {
  std::vector<std::string> line;
  if (task.shell) line = {"sh", "-c", "--", task.program, "sh"};  // "--": the command may begin with a dash
  if (!task.shell) line = {task.program};
  line.insert(line.end(), task.arguments.begin(), task.arguments.end());
  return line;
}

// -- Its descriptors ------------------------------------------------------------------------------------------------

Descriptor open_file(const std::string& path, int flags) {
  int number = -1;
  do {
    number = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  } while (number < 0 && errno == EINTR);
  const int error = errno;
  const std::string what = "cannot open \"" + path + "\"";
  errno = error;
  return Descriptor(number, what.c_str());
}

// A file without a name.
Descriptor open_memory() {
  constexpr const char* what = "cannot make a file for the standard input";
#if defined(__linux__)
  const int number = ::memfd_create("standard input", MFD_CLOEXEC);
  if (number >= 0 || errno != ENOSYS) return Descriptor(number, what);
#endif
  std::string path = (std::filesystem::temp_directory_path() / "cohort-XXXXXX").string();
  Descriptor file(::mkostemp(path.data(), O_CLOEXEC), what);
  ::unlink(path.c_str());
  return file;
}

// A file that holds all of the input, not a pipe: nobody needs to feed it, and a child that does not read it hurts
// nobody.
Descriptor open_input(std::string_view bytes) {
  if (bytes.empty()) return open_file("/dev/null", O_RDONLY);
  Descriptor file = open_memory();
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.number(), bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) throw_errno(errno, "cannot write the file for the standard input");
    if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::lseek(file.number(), 0, SEEK_SET) != 0) throw_errno(errno, "cannot rewind the file for the standard input");
  return file;
}

// The write end of a pipe, ours until the child has its copy. A fork that another thread makes in between copies it
// too, and would keep the pipe from its end for as long as that process lives: so that process closes it, first of all.
// (One made without the handlers of fork, by clone or vfork, closes it when it runs a program.)
class WriteEnd {
 public:
  WriteEnd() = default;
  WriteEnd(const WriteEnd&) = delete;
  WriteEnd& operator=(const WriteEnd&) = delete;
  ~WriteEnd() {
    const std::lock_guard lock(mutex);
    open_ends.remove(*this);
    writer_.close();
  }

  // Makes the pipe, and gives the other end.
  Descriptor open() {
    static const AtFork registered([] { mutex.lock(); }, [] { mutex.unlock(); }, close_all);
    const std::lock_guard lock(mutex);
    Pipe pipe = open_pipe();
    writer_ = std::move(pipe.writer);
    open_ends.push_back(*this);
    return std::move(pipe.reader);
  }

  [[nodiscard]] int number() const noexcept { return writer_.number(); }

  WriteEnd* next = nullptr;
  WriteEnd* previous = nullptr;
  bool linked = false;

 private:
  static void close_all() noexcept {
    while (WriteEnd* end = open_ends.pop_front()) end->writer_.close();
    mutex.unlock();
  }

  static inline constinit std::mutex mutex;  // held while a process forks, so that the list is whole in its child
  static inline constinit IntrusiveList<WriteEnd> open_ends;

  Descriptor writer_;
};

// Where the child writes to: a file, or a pipe.
struct Output {
  explicit Output(const std::optional<std::string>& path) {
    if (path) {
      file = open_file(*path, O_WRONLY | O_CREAT | O_TRUNC);
    } else {
      reader = writer.open();
    }
  }
  [[nodiscard]] int number() const noexcept { return reader.number() < 0 ? file.number() : writer.number(); }

  Descriptor file;
  Descriptor reader;
  WriteEnd writer;
};

// -- The call -------------------------------------------------------------------------------------------------------

class SpawnPlan {
 public:
  explicit SpawnPlan(std::string what) : what_(std::move(what)) {
    must(::posix_spawnattr_init(&attributes_));
    const int error = ::posix_spawn_file_actions_init(&actions_);
    if (error != 0) ::posix_spawnattr_destroy(&attributes_);
    must(error);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  // A process group of its own, no signal blocked, and the SIGPIPE of a program that knows nothing of ours.
  void set_attributes() {
    sigset_t signals;
    ::sigemptyset(&signals);
    must(::posix_spawnattr_setsigmask(&attributes_, &signals));
    ::sigaddset(&signals, SIGPIPE);
    must(::posix_spawnattr_setsigdefault(&attributes_, &signals));
    must(::posix_spawnattr_setpgroup(&attributes_, 0));
    must(::posix_spawnattr_setflags(&attributes_,
                                    POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  }

  void set_descriptors(const std::array<int, 3>& numbers) {
    for (int i = 0; i < 3; ++i) {
      must(::posix_spawn_file_actions_adddup2(&actions_, numbers[static_cast<std::size_t>(i)], i));
    }
    // Ours are close-on-exec. The application's may not be; older systems than these cannot help it.
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    must(::posix_spawn_file_actions_addclosefrom_np(&actions_, 3));
#endif
#endif
  }

  void set_directory(const std::string& path) {
    if (!path.empty()) must(::posix_spawn_file_actions_addchdir_np(&actions_, path.c_str()));
  }

  // Gives the errno.
  int run(pid_t& pid, const char* path, bool in_path, const std::vector<char*>& line, char* const* environment) const {
    return (in_path ? ::posix_spawnp : ::posix_spawn)(&pid, path, &actions_, &attributes_, line.data(), environment);
  }

  void must(int error) const {
    if (error != 0) throw_errno(error, what_);
  }

 private:
  std::string what_;
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
};

}  // namespace

Spawned spawn(const ExecutableTask& task) {
  check(task);
  const std::string path = task.shell ? "/bin/sh" : task.program;
  const std::vector<std::string> line = command_line(task);
  std::vector<std::string> entries;
  if (task.environment) {
    for (const auto& [name, value] : *task.environment) entries.emplace_back(name).append("=").append(value);
  }
  const std::vector<char*> entry_pointers = pointers_to(entries);

  const Descriptor input = open_input(task.standard_input);
  Output output(task.stdout_path);
  std::optional<Output> own_error;
  if (!task.stdout_path || task.stdout_path != task.stderr_path) own_error.emplace(task.stderr_path);
  const int error_number = own_error ? own_error->number() : output.number();

  SpawnPlan plan("cannot start \"" + path + "\"");
  plan.set_attributes();
  plan.set_descriptors({input.number(), output.number(), error_number});
  plan.set_directory(task.working_directory);
  pid_t pid = 0;
  const int failure =
      plan.run(pid, path.c_str(), !task.shell, pointers_to(line), task.environment ? entry_pointers.data() : environ);
  if (failure != 0 && !task.working_directory.empty()) {
    // Was it the directory? What chdir needs is what it takes to find "." there.
    struct stat status;
    if (::stat((task.working_directory + "/.").c_str(), &status) != 0) {
      const int error = errno;
      throw_errno(error, "cannot run \"" + path + "\" in \"" + task.working_directory + "\"");
    }
  }
  plan.must(failure);
  return {pid, std::move(output.reader), own_error ? std::move(own_error->reader) : Descriptor()};
}

}  // namespace cohort::detail
#endif
