"""The `qt` of the headless application behaves as PythonQt does, and refuses what PythonQt refuses."""

import gc

import pytest

pytestmark = pytest.mark.panel


@pytest.fixture
def qt(app, errors):
    import qt

    return qt


def test_properties_are_attributes_and_setters_stay_callable(qt):
    button = qt.QPushButton("Apply")
    button.enabled = False
    button.setText("Run")
    assert (button.text, button.enabled, button.isEnabled()) == ("Run", False, False)


@pytest.mark.parametrize("getter", ["text", "enabled", "toolTip", "checked", "sizeHint", "objectName", "size"])
def test_a_property_cannot_be_called(qt, getter):
    button = qt.QPushButton("Apply")
    with pytest.raises(TypeError, match="not callable"):
        getattr(button, getter)()


@pytest.mark.parametrize("name", ["tooltip", "Enabled", "visble"])
def test_a_misspelt_attribute_is_refused(qt, name):
    button = qt.QPushButton("Apply")
    with pytest.raises(AttributeError, match="creating new attributes on C"):
        setattr(button, name, True)


def test_a_class_of_the_module_may_have_attributes(qt):
    class Panel(qt.QWidget):
        pass

    panel = Panel()
    panel.state = 3
    assert panel.state == 3


@pytest.mark.parametrize("value", [None, object(), "yes"])
def test_a_switch_takes_only_numbers_and_truth_values(qt, value):
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QPushButton().enabled = value


def test_a_text_takes_numbers_but_not_none(qt):
    label = qt.QLabel()
    label.text = 3
    assert label.text == "3"
    with pytest.raises(AttributeError, match="does not accept"):
        label.text = None


def test_read_only_properties_are_refused(qt):
    with pytest.raises(AttributeError, match="not writable"):
        qt.QComboBox().count = 3


@pytest.mark.parametrize("name", ["Signal", "Slot", "Property", "QRegExp", "QTextCodec", "QDesktopWidget"])
def test_names_missing_in_slicer_or_qt6_are_missing(qt, name):
    with pytest.raises(AttributeError):
        getattr(qt, name)


def test_connect_by_signature(qt):
    clicks, button = [], qt.QPushButton()
    button.connect("clicked(bool)", clicks.append)
    button.connect("clicked()", lambda: clicks.append("plain"))
    button.click()
    button.disconnect("clicked(bool)", clicks.append)
    button.click()
    assert clicks == [False, "plain", "plain"]


@pytest.mark.parametrize("signature", ["clickd()", "clicked(int)", "clicked", "currentIndexChanged(QString)"])
def test_connect_to_an_unknown_signal_is_refused(qt, signature):
    with pytest.raises(AttributeError, match="does not exist on QPushButton"):
        qt.QPushButton().connect(signature, print)


def test_connect_in_classes_derived_twice(qt):
    class First(qt.QPushButton):
        pass

    class Second(First):
        pass

    clicks, button = [], Second()
    button.connect("clicked()", lambda: clicks.append(1))
    button.click()
    assert clicks == [1]


def test_isinstance_holds_for_what_qt_made_itself(qt):
    table = qt.QTableWidget(2, 2)
    header = table.horizontalHeader()
    header.stretchLastSection = True
    assert isinstance(header, qt.QHeaderView)
    assert isinstance(table, qt.QWidget)
    assert header.stretchLastSection is True


def test_names_children_and_class_names(qt):
    box = qt.QGroupBox()
    layout = qt.QVBoxLayout(box)
    label = qt.QLabel("x")
    label.name = "note"
    layout.addWidget(label)
    assert (label.objectName, label.className(), box.findChild(qt.QLabel, "note")) == ("note", "QLabel", label)
    assert box.findChildren(qt.QWidget) == [label]


def test_a_virtual_getter_that_is_a_property_keeps_its_value(qt):
    bar, layout = qt.QProgressBar(), qt.QVBoxLayout()
    bar.value, layout.spacing = 30, 7
    bar.grab()
    assert (bar.text, layout.spacing, bar.sizeHint.width() > 0) == ("30%", 7, True)


def test_a_python_override_of_a_virtual_function_is_used(qt):
    class Square(qt.QWidget):
        def sizeHint(self):
            return qt.QSize(40, 40)

    outer = qt.QWidget()
    layout = qt.QVBoxLayout(outer)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(Square())
    assert layout.totalSizeHint().height() == 40


def test_timers_processes_and_settings(qt, app):
    fired, loop = [], qt.QEventLoop()
    qt.QTimer.singleShot(1, lambda: (fired.append(1), loop.quit()))
    loop.exec_()
    settings = app.userSettings()
    settings.setValue("MotionScore/threshold", 75)
    assert fired == [1]
    assert settings.value("MotionScore/threshold") is not None
    assert settings.value("MotionScore/absent", "none") == "none"


def test_a_timer_knows_single_shot_as_function_and_as_property(qt):
    timer = qt.QTimer()
    timer.singleShot = True
    assert (timer.singleShot, timer.isSingleShot()) == (True, True)


def test_keyboard_shortcuts_can_be_pressed(qt, app):
    from PySide6 import QtCore, QtTest

    panel, pressed = qt.QWidget(), []
    shortcut = qt.QShortcut(qt.QKeySequence("3"), panel)
    shortcut.connect("activated()", lambda: pressed.append("3"))
    panel.show()
    panel.activateWindow()
    app.processEvents()
    QtTest.QTest.keyClick(panel, QtCore.Qt.Key_3)
    assert pressed == ["3"]


def test_dialogs_are_answered_by_script_and_never_wait(qt, app):
    app.dialogs.answer("/data/scan.aim", lambda dialog: qt.QDialog.Accepted)
    assert qt.QFileDialog.getOpenFileName(None, "Open", "/data", "AIM (*.aim)") == "/data/scan.aim"
    assert qt.QDialog().exec_() == qt.QDialog.Accepted
    with pytest.raises(AssertionError, match="would wait for a person"):
        qt.QMessageBox.question(None, "Sure?", "Delete the model?")


def test_an_exception_in_a_slot_is_kept_for_the_test(qt, app, capsys):
    button = qt.QPushButton()
    button.clicked.connect(lambda: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in app.uncaught.pop()


def test_making_and_losing_many_widgets_does_not_crash(qt, app):
    for _ in range(20):
        for cls in (qt.QTreeWidget, qt.QTextEdit, qt.QComboBox, qt.QTabWidget, qt.QDialog, qt.QDoubleSpinBox):
            widget = cls()
            widget.show()
            widget.grab()
            widget.close()
        app.processEvents()
    gc.collect()


def test_text_is_drawn_with_the_font_carried_here(qt, app):
    assert qt.QFontInfo(qt.QApplication.font()).family() == "DejaVu Sans"
    font = qt.QRawFont.fromFont(qt.QApplication.font())
    assert [sign for sign in "Aäß°µ±≥≤–…→●○▶✓κσÅ²⚠" if not font.supportsCharacter(ord(sign))] == []
