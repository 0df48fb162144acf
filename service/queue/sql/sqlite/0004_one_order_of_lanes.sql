-- An index that every claim and every new line writes to, for the few claims that go by age alone: those read the
-- other one, priority by priority.

DROP INDEX lane_fair;
