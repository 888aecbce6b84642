// std::async: a thread for each call, however many workers are asked for.
#pragma once

#include <cstddef>  // for std::size_t
#include <future>   // for std::async
#include <utility>  // for std::move

namespace contenders {

class StdAsync {
 public:
  static constexpr const char* name = "std_async";
  explicit StdAsync(std::size_t) {}

  template <class F>
  auto submit(F function) {
    return std::async(std::launch::async, std::move(function));
  }
};

}  // namespace contenders
