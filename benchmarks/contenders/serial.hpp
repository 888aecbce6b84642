// The floor: a coroutine that awaits the next, one after the other; nothing is scheduled.
#pragma once

#include <cohort/cohort.hpp>

#include "../suite/workloads.hpp"

#include <cstddef>  // for std::size_t

namespace contenders {

class Serial {
 public:
  static constexpr const char* name = "serial";
  explicit Serial(std::size_t workers) : executor_(workers) {}

  long fib(int n) { return executor_.submit(fib_task, n).get(); }
  long skynet(int depth) { return executor_.submit(skynet_task, 0L, depth).get(); }
  long nqueens(int size) { return executor_.submit(nqueens_task, workloads::Board{}, 0, size).get(); }
  void matmul(const workloads::Block& block) { executor_.submit(matmul_task, block).get(); }

 private:
  static cohort::Task<long> fib_task(int n) {
    if (n < 2) co_return n;
    const long left = co_await fib_task(n - 1);
    const long right = co_await fib_task(n - 2);
    co_return left + right;
  }

  static cohort::Task<long> skynet_task(long first, int depth) {
    if (depth == 0) co_return first;
    const long step = workloads::skynet_leaves(depth - 1);
    long sum = 0;
    for (int i = 0; i < workloads::skynet_width; ++i) {
      const long part = co_await skynet_task(first + i * step, depth - 1);
      sum += part;
    }
    co_return sum;
  }

  static cohort::Task<long> nqueens_task(workloads::Board board, int column, int size) {
    if (column == size) co_return 1;
    long sum = 0;
    for (int row = 0; row < size; ++row) {
      if (!workloads::may_place(board, column, row)) continue;
      const long part = co_await nqueens_task(workloads::placed(board, column, row), column + 1, size);
      sum += part;
    }
    co_return sum;
  }

  static cohort::Task<void> matmul_task(workloads::Block block) {
    if (block.size <= workloads::matmul_leaf) {
      workloads::multiply(block);
      co_return;
    }
    for (int i = 0; i < 8; ++i) co_await matmul_task(block.part(i / 2 % 2, i % 2, i / 4));
  }

  cohort::AsyncExecutor executor_;
};

}  // namespace contenders
