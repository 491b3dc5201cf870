import csv
import os

import pytest

from timm_coded.train.summary import write_summary


def test_every_epoch_has_a_row_and_every_metric_a_column_in_the_order_of_their_appearance(tmp_path):
    path = tmp_path / 'summary.csv'
    rows = [{'epoch': 0, 'train_loss': 1 / 3, 'lr': 0.5}, {'epoch': 1, 'train_loss': 1e-9, 'ema_top1': 7.0}]
    write_summary(path, rows)
    assert path.read_text().splitlines() == ['epoch,train_loss,lr,ema_top1', f'0,{1 / 3},0.5,', '1,1e-09,,7.0']
    first, second = csv.DictReader(path.read_text().splitlines())
    assert float(first['train_loss']) == 1 / 3 and second['lr'] == ''


def test_rows_of_before_are_replaced(tmp_path):
    path = tmp_path / 'summary.csv'
    write_summary(path, [{'epoch': epoch, 'loss': 2.0} for epoch in range(5)])
    write_summary(path, [{'epoch': 0, 'loss': 1.0}])
    assert path.read_text() == 'epoch,loss\n0,1.0\n' and os.listdir(tmp_path) == ['summary.csv']


def test_file_is_the_old_one_or_the_new_one_but_never_half_of_it(tmp_path, monkeypatch):
    path = tmp_path / 'summary.csv'
    write_summary(path, [{'epoch': 0}])

    def killed(source, target):
        assert os.path.getsize(source) == len('epoch\n0\n1\n'), 'all is written before it gets its name'
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        write_summary(path, [{'epoch': 0}, {'epoch': 1}])
    assert path.read_text() == 'epoch\n0\n'
