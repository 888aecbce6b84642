// The execution backend: functions by uid, and programs, two at a time, next to xargs.

#include <cohort/cohort.hpp>
#include "suite/suite.hpp"

#include <any>      // for std::any_cast
#include <cstddef>  // for std::size_t
#include <cstdlib>  // for std::system
#include <string>   // for std::string
#include <utility>  // for std::move
#include <vector>   // for std::vector

namespace {

class Backend {
 public:
  static constexpr const char* name = "cohort";
  explicit Backend(std::size_t workers) : executor_(workers), backend_(executor_, {.max_processes = workers}) {}

  long functions(std::size_t count) {
    std::vector<cohort::TaskDescription> tasks;
    tasks.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
      tasks.emplace_back("", cohort::FunctionTask([i] { return static_cast<long>(i % 2); }));
    long sum = 0;
    for (const auto& future : backend_.submit_tasks(std::move(tasks)))
      sum += std::any_cast<long>(future.get().value_or_throw());
    return sum;
  }

  // How many ended well.
  long programs(std::size_t count) {
    std::vector<cohort::TaskDescription> tasks;
    tasks.reserve(count);
    for (std::size_t i = 0; i < count; ++i) tasks.emplace_back("", cohort::ExecutableTask{.program = "/bin/true"});
    long done = 0;
    for (const auto& future : backend_.submit_tasks(std::move(tasks)))
      done += future.get().state == cohort::TaskState::done ? 1 : 0;
    return done;
  }

 private:
  cohort::AsyncExecutor executor_;
  cohort::ConcurrentExecutionBackend backend_;
};

class Xargs {
 public:
  static constexpr const char* name = "xargs";
  explicit Xargs(std::size_t workers) : workers_(workers) {}

  // It succeeds if all did. `true` takes no notice of its argument.
  [[nodiscard]] long programs(std::size_t count) const {
    const std::string command =
        "seq " + std::to_string(count) + " | xargs -P" + std::to_string(workers_) + " -n1 /bin/true";
    return std::system(command.c_str()) == 0 ? static_cast<long>(count) : -1;
  }

 private:
  std::size_t workers_;
};

}  // namespace

void suite::add_cases() {
  const std::size_t functions = scaled(100'000, 100);
  const std::size_t programs = scaled(1'000, 20);
  for (const std::size_t workers : {std::size_t{1}, std::size_t{2}}) {
    add_call<Backend>("functions", workers, functions, static_cast<long>(functions / 2),
                      [=](Backend& backend) { return backend.functions(functions); });
    add_call<Backend>("programs", workers, programs, static_cast<long>(programs),
                      [=](Backend& backend) { return backend.programs(programs); });
    add_call<Xargs>("programs", workers, programs, static_cast<long>(programs),
                    [=](Xargs& xargs) { return xargs.programs(programs); });
  }
}
