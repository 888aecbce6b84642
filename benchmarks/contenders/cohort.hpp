// cohort, in two styles: an eager future for each child, and when_all.
#pragma once

#include <cohort/cohort.hpp>

#include "../suite/workloads.hpp"

#include <array>    // for std::array
#include <cstddef>  // for std::size_t
#include <tuple>    // for std::tuple
#include <utility>  // for std::move
#include <vector>   // for std::vector

namespace contenders {

class Cohort {
 public:
  static constexpr const char* name = "cohort";
  explicit Cohort(std::size_t workers) : executor_(workers) {}

  /// A future for `function()`.
  template <class F>
  auto submit(F function) {
    return executor_.submit(std::move(function));
  }

  long fib(int n) { return executor_.submit(fib_task, &executor_, n).get(); }
  long skynet(int depth) { return executor_.submit(skynet_task, &executor_, 0L, depth).get(); }
  long nqueens(int size) { return executor_.submit(nqueens_task, &executor_, workloads::Board{}, 0, size).get(); }
  void matmul(const workloads::Block& block) { executor_.submit(matmul_task, &executor_, block).get(); }

  [[nodiscard]] cohort::AsyncExecutor& executor() { return executor_; }

 private:
  using Executor = cohort::AsyncExecutor;

  static cohort::Task<long> fib_task(Executor* executor, int n) {
    if (n < 2) co_return n;
    cohort::AsyncFuture<long> left = executor->submit(fib_task, executor, n - 1);
    const long right = co_await fib_task(executor, n - 2);
    const long value = co_await std::move(left);
    co_return value + right;
  }

  static cohort::Task<long> skynet_task(Executor* executor, long first, int depth) {
    if (depth == 0) co_return first;
    const long step = workloads::skynet_leaves(depth - 1);
    std::array<cohort::AsyncFuture<long>, workloads::skynet_width> children;
    for (cohort::AsyncFuture<long>& child : children) {
      child = executor->submit(skynet_task, executor, first, depth - 1);
      first += step;
    }
    long sum = 0;
    // The newest first: it is the one that a worker starts next.
    for (std::size_t i = children.size(); i-- > 0;) {
      const long part = co_await std::move(children[i]);
      sum += part;
    }
    co_return sum;
  }

  static cohort::Task<long> nqueens_task(Executor* executor, workloads::Board board, int column, int size) {
    if (column == size) co_return 1;
    std::array<cohort::AsyncFuture<long>, workloads::most_queens> children;
    std::size_t count = 0;
    for (int row = 0; row < size; ++row) {
      if (!workloads::may_place(board, column, row)) continue;
      children[count++] =
          executor->submit(nqueens_task, executor, workloads::placed(board, column, row), column + 1, size);
    }
    long sum = 0;
    while (count > 0) {
      const long part = co_await std::move(children[--count]);
      sum += part;
    }
    co_return sum;
  }

  static cohort::Task<void> matmul_task(Executor* executor, workloads::Block block) {
    if (block.size <= workloads::matmul_leaf) {
      workloads::multiply(block);
      co_return;
    }
    for (int half = 0; half < 2; ++half) {
      std::array<cohort::AsyncFuture<void>, 4> children;
      for (int i = 0; i < 4; ++i)
        children[static_cast<std::size_t>(i)] = executor->submit(matmul_task, executor, block.part(i / 2, i % 2, half));
      for (std::size_t i = children.size(); i-- > 0;) co_await std::move(children[i]);
    }
  }

  Executor executor_;
};

class CohortWhenAll {
 public:
  static constexpr const char* name = "cohort_when_all";
  explicit CohortWhenAll(std::size_t workers) : executor_(workers) {}

  long fib(int n) { return executor_.submit(fib_task, n).get(); }
  long skynet(int depth) { return executor_.submit(skynet_task, 0L, depth).get(); }
  long nqueens(int size) { return executor_.submit(nqueens_task, workloads::Board{}, 0, size).get(); }
  void matmul(const workloads::Block& block) { executor_.submit(matmul_task, block).get(); }

 private:
  static cohort::Task<long> fib_task(int n) {
    if (n < 2) co_return n;
    const std::tuple<long, long> both = co_await cohort::when_all(fib_task(n - 1), fib_task(n - 2));
    co_return std::get<0>(both) + std::get<1>(both);
  }

  static cohort::Task<long> skynet_task(long first, int depth) {
    if (depth == 0) co_return first;
    const long step = workloads::skynet_leaves(depth - 1);
    std::vector<cohort::Task<long>> children;
    children.reserve(workloads::skynet_width);
    for (int i = 0; i < workloads::skynet_width; ++i) children.push_back(skynet_task(first + i * step, depth - 1));
    const std::vector<long> parts = co_await cohort::when_all(std::move(children));
    long sum = 0;
    for (const long part : parts) sum += part;
    co_return sum;
  }

  static cohort::Task<long> nqueens_task(workloads::Board board, int column, int size) {
    if (column == size) co_return 1;
    std::vector<cohort::Task<long>> children;
    children.reserve(static_cast<std::size_t>(size));
    for (int row = 0; row < size; ++row) {
      if (workloads::may_place(board, column, row))
        children.push_back(nqueens_task(workloads::placed(board, column, row), column + 1, size));
    }
    const std::vector<long> parts = co_await cohort::when_all(std::move(children));
    long sum = 0;
    for (const long part : parts) sum += part;
    co_return sum;
  }

  static cohort::Task<void> matmul_task(workloads::Block block) {
    if (block.size <= workloads::matmul_leaf) {
      workloads::multiply(block);
      co_return;
    }
    for (int half = 0; half < 2; ++half)
      co_await cohort::when_all(matmul_task(block.part(0, 0, half)), matmul_task(block.part(0, 1, half)),
                                matmul_task(block.part(1, 0, half)), matmul_task(block.part(1, 1, half)));
  }

  cohort::AsyncExecutor executor_;
};

}  // namespace contenders
