"""Components drawn by the page, whose answers arrive while Streamlit draws another part of it."""

import json

import pytest
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.local_script_runner import LocalScriptRunner


def script():
    import streamlit as st

    from pages.shared.components.label_keys import label_keys

    def press(item, name, word):
        st.session_state["said"] = word

    def keys(key):
        label_keys(
            "a", said={"plane": None, "sequence": None}, asks={"plane": True, "sequence": True}, moves={}, enabled=True,
            turn=1, on_press=press, key=key,
        )  # fmt: skip

    @st.fragment
    def beside():
        keys("inside")
        st.text(f"inside {st.session_state.get('said')}")

    st.text(f"page {st.session_state.get('said')}")
    keys("outside")
    beside()


@pytest.mark.parametrize(
    ("pressed", "drawn"),
    [("outside", ["page coronal", "inside coronal"]), ("inside", ["inside coronal"])],
)
def test_page_is_drawn_after_a_press_that_came_with_a_fragments_message(monkeypatch, pressed, drawn):
    at = AppTest.from_function(script).run()
    assert not at.exception
    component = next(one.proto.id for one in at.get("bidi_component") if one.proto.id.endswith(pressed))
    said = WidgetState(
        id=_make_trigger_id(component, "events"),
        json_trigger_value=json.dumps([{"event": "pressed", "value": ["a", "plane", "coronal"]}]),
    )
    fragment = next(iter(at._fragment_storage._fragments))
    ask = LocalScriptRunner.request_rerun

    def ask_for_fragment(runner, data):
        runner._requests = ScriptRequests()  # AppTest has asked for the whole page before
        return ask(runner, RerunData(widget_states=data.widget_states, fragment_id_queue=[fragment]))

    monkeypatch.setattr(LocalScriptRunner, "request_rerun", ask_for_fragment)
    at._run(WidgetStates(widgets=[said]))
    assert [text.value for text in at.text] == drawn
