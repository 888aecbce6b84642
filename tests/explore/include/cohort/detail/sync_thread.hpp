// In place of the library's header of this name when it is compiled for the explorer.
#pragma once

#include <exception>  // for std::terminate
#include <thread>     // for std::thread::hardware_concurrency, which the library asks
#include <utility>    // for std::exchange

#include "../../../schedule_point.hpp"

namespace cohort::detail::sync {

/// A thread of the execution. Like std::jthread it is joined at its end; it has no stop token.
class jthread {
 public:
  jthread() noexcept = default;
  template <class F>
  explicit jthread(F body, explore::Where where = explore::Where::current())
      : thread_(explore::start(std::move(body), where)) {}
  jthread(jthread&& other) noexcept : thread_(std::exchange(other.thread_, nullptr)) {}
  jthread& operator=(jthread&& other) noexcept {
    jthread(std::move(other)).swap(*this);
    return *this;
  }
  jthread(const jthread&) = delete;
  ~jthread() {
    if (joinable()) join();
  }

  void swap(jthread& other) noexcept { std::swap(thread_, other.thread_); }
  [[nodiscard]] bool joinable() const noexcept { return thread_ != nullptr; }
  void join() noexcept {
    if (!joinable()) std::terminate();
    explore::join(*std::exchange(thread_, nullptr));
  }
  void detach() noexcept {
    if (!joinable()) std::terminate();
    thread_ = nullptr;
  }

 private:
  explore::Thread* thread_ = nullptr;
};

/// Lets other threads run.
inline void yield(explore::Where where = explore::Where::current()) noexcept {
  explore::give_way({"yield", nullptr, where});
}

/// To look again shows nothing new, and who yields here runs last from then on.
inline constexpr int looks_before_sleep = 0;

}  // namespace cohort::detail::sync
