// The engine's queue: whose turn it is.
#include <doctest/doctest.h>

#include <chrono>
#include <string>

#include "engine/queue.h"

using namespace microseg::engine;
using std::chrono::steady_clock;

namespace {

struct Lab {
  Queue queue;
  std::string done;
  void post(char what, Queue::Turn turn) {
    queue.post([this, what] { done += what; }, turn);
  }
  void last(char what) { post(what, Queue::Turn::last); }
  void next(char what) { post(what, Queue::Turn::next); }
  bool one() {
    auto work = queue.take(steady_clock::now());
    if (work) (*work)();
    return work.has_value();
  }
};

}  // namespace

TEST_CASE("what is urgent overtakes what waits, one piece at a time") {
  Lab lab;
  lab.last('a'), lab.last('b'), lab.next('1'), lab.next('2'), lab.last('c');
  while (lab.one()) {
  }
  CHECK(lab.done == "1a2bc");
}

TEST_CASE("who makes urgent work all the time keeps nobody waiting for more than one piece of it") {
  Lab lab;
  for (char c = 'a'; c <= 'e'; ++c) lab.last(c);
  for (int i = 0; i < 10; ++i) {
    lab.next('.');
    CHECK(lab.one());
  }
  CHECK(lab.done == ".a.b.c.d.e");
}

TEST_CASE("nothing is taken from a queue that has stopped, and who waits for an answer hears that") {
  Lab lab;
  lab.last('a'), lab.next('1');
  lab.queue.stop();
  CHECK(!lab.one());
  CHECK_THROWS_AS(lab.queue.ask([] { return 1; }), std::future_error);
  CHECK(lab.done.empty());
}
