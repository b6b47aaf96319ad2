"""The learners, a module each: every class here is a choice of `learner=`. Their nets compute in the modules above."""
