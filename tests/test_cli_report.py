"""`timm-coded report` puts the findings of all analyses on one page, and says what it could not do."""
import json

import pytest

from timm_coded.cli import main, report


@pytest.fixture(scope='module')
def reported(digits_checkpoint, tmp_path_factory):
    """The folder of a report: of one class, with few images to time."""
    folder = tmp_path_factory.mktemp('report')
    timed_images, report.TIMED_IMAGES = report.TIMED_IMAGES, 4
    argv = ['report', str(digits_checkpoint), '--output', str(folder), '--foreign', 'letters', '--classes', '3']
    try:
        assert main([*argv, '--explained', '1', '--skip', 'ablate']) == 0
    finally:
        report.TIMED_IMAGES = timed_images
    return folder


def test_page_has_a_section_for_each_analysis_with_its_figures(reported):
    page = (reported / 'report.html').read_text()
    sections = [part.split('"')[0] for part in page.split('<section id="')[1:]]
    assert sections[:2] == ['evaluate', 'decode'] and 'ablate' not in sections
    assert {'calibrate', 'activations', 'energies', 'extract', 'classify', 'detect'} <= set(sections)
    assert [name for name in sections if name.startswith('explain-')]
    assert page.count('<img ') == page.count('data:image/png;base64,') >= 8
    assert 'coded_resnext11_10x11d' in page and 'letters' in page
    assert 'Table 3' in page and 'Table 6' in page, "the paper's own"


def test_numbers_of_the_page_are_in_files_beside_it(reported):
    page = (reported / 'report.html').read_text()
    for name in ('evaluate', 'decode', 'classify', 'detect', 'extract'):
        findings = json.loads((reported / f'{name}.json').read_text())
        assert findings['title'].replace("'", '&#x27;') in page
    row = json.loads((reported / 'evaluate.json').read_text())['tables']['accuracy']['rows'][0]
    assert f'{row["accuracy"]:.4g}' in page


def test_image_that_is_explained_is_a_wrong_prediction(reported):
    found, = reported.glob('explain-*.json')
    findings = json.loads(found.read_text())
    predicted = findings['tables'][found.stem]['rows'][0]['name']
    assert f'of class {predicted}' not in findings['notes'][-1]


def test_analysis_that_these_images_do_not_allow_is_told_in_its_place(capsys):
    def analyse():
        raise ValueError('all predictions are right')

    findings = report.timed('calibrate', analyse)
    assert findings.name == 'calibrate' and 'not possible' in findings.title
    assert findings.notes == ['all predictions are right'] and not findings.tables
    assert 'calibrate: all predictions are right' in capsys.readouterr().err


def test_unknown_analysis_and_class_are_errors(digits_checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['report', str(digits_checkpoint), '--skip', 'nothing'])
    assert main(['report', str(digits_checkpoint), '--classes', '10', '--output', str(tmp_path)]) == 2
    assert 'class' in capsys.readouterr().err
    assert not list(tmp_path.glob('*.html'))
