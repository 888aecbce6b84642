// oneTBB: task_group for fork-join within an arena of as many threads as there are workers, the caller being one; and
// an arena without a place for the caller, with std::future, for what comes from outside.
#pragma once

#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include "../suite/workloads.hpp"

#include <array>    // for std::array
#include <cstddef>  // for std::size_t
#include <future>   // for std::promise
#include <utility>  // for std::move

namespace contenders {

class Tbb {
 public:
  static constexpr const char* name = "tbb";
  explicit Tbb(std::size_t workers)
      : control_(tbb::global_control::max_allowed_parallelism, workers), arena_(static_cast<int>(workers)) {}

  long fib(int n) {
    return arena_.execute([n] { return fib_call(n); });
  }
  long skynet(int depth) {
    return arena_.execute([depth] { return skynet_call(0, depth); });
  }
  long nqueens(int size) {
    return arena_.execute([size] { return nqueens_call(workloads::Board{}, 0, size); });
  }
  void matmul(const workloads::Block& block) {
    arena_.execute([&block] { matmul_call(block); });
  }
  /// Calls it on one of the threads.
  template <class F>
  auto execute(F function) {
    return arena_.execute(std::move(function));
  }

 private:
  static long fib_call(int n) {
    if (n < 2) return n;
    long left = 0;
    tbb::task_group group;
    group.run([&left, n] { left = fib_call(n - 1); });
    const long right = fib_call(n - 2);
    group.wait();
    return left + right;
  }

  static long skynet_call(long first, int depth) {
    if (depth == 0) return first;
    const long step = workloads::skynet_leaves(depth - 1);
    std::array<long, workloads::skynet_width> parts;
    tbb::task_group group;
    for (long& part : parts) {
      group.run([&part, first, depth] { part = skynet_call(first, depth - 1); });
      first += step;
    }
    group.wait();
    long sum = 0;
    for (const long part : parts) sum += part;
    return sum;
  }

  static long nqueens_call(const workloads::Board& board, int column, int size) {
    if (column == size) return 1;
    std::array<long, workloads::most_queens> parts;
    std::size_t count = 0;
    tbb::task_group group;
    for (int row = 0; row < size; ++row) {
      if (!workloads::may_place(board, column, row)) continue;
      long& part = parts[count++];
      group.run([&part, next = workloads::placed(board, column, row), column, size] {
        part = nqueens_call(next, column + 1, size);
      });
    }
    group.wait();
    long sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += parts[i];
    return sum;
  }

  static void matmul_call(const workloads::Block& block) {
    if (block.size <= workloads::matmul_leaf) {
      workloads::multiply(block);
      return;
    }
    for (int half = 0; half < 2; ++half) {
      tbb::task_group group;
      for (int i = 0; i < 4; ++i) group.run([part = block.part(i / 2, i % 2, half)] { matmul_call(part); });
      group.wait();
    }
  }

  tbb::global_control control_;
  tbb::task_arena arena_;
};

class TbbEnqueue {
 public:
  static constexpr const char* name = "tbb";
  explicit TbbEnqueue(std::size_t workers)
      : control_(tbb::global_control::max_allowed_parallelism, workers + 1), arena_(static_cast<int>(workers), 0) {}

  template <class F>
  auto submit(F function) {
    using Result = decltype(function());
    Call<F, Result> call{{}, std::move(function)};
    std::future<Result> future = call.promise.get_future();
    arena_.enqueue(std::move(call));
    return future;
  }

 private:
  // The arena calls what is const.
  template <class F, class Result>
  struct Call {
    mutable std::promise<Result> promise;
    mutable F function;
    void operator()() const { promise.set_value(function()); }
  };

  tbb::global_control control_;
  tbb::task_arena arena_;
};

}  // namespace contenders
