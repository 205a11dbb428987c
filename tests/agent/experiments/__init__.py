"""Tests of training and comparing learners without a daemon."""
