"""Airflow's page of connections, used as a person does: fields are found by label, buttons by name."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect


class ConnectionsPage:
    """The list of connections, and the form that opens over it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.form = page.get_by_role("dialog")
        self.failed_test = page.get_by_role("status", name="Test Connection Failed")
        page.goto(f"{url}/connections")

    def row(self, conn_id: str) -> Locator:
        """Return the row of a connection in the list."""
        return self.page.get_by_role("row").filter(has=self.page.get_by_role("cell", name=conn_id, exact=True))

    def add(self, conn_id: str) -> None:
        """Open the form for a new connection of our type."""
        self.page.get_by_role("button", name="Add Connection").click()
        self.form.get_by_label("Connection ID").fill(conn_id)
        self.form.get_by_role("combobox").click()
        self.page.get_by_role("option", name="Respan", exact=True).click()

    def edit(self, conn_id: str) -> None:
        """Open the form for an existing connection."""
        self.row(conn_id).get_by_role("button", name="Edit Connection").click()

    def open_section(self, name: str) -> None:
        """Open the section of the standard or of the extra fields; the other section closes."""
        section = self.form.get_by_role("button", name=name, exact=True)
        if section.get_attribute("aria-expanded") != "true":
            section.click()
        expect(self.fields().first).to_be_visible()

    def save(self) -> None:
        """Save the form, and wait until it closes."""
        self.form.get_by_role("button", name="Save").click()
        expect(self.form).to_be_hidden()

    def press_test(self, conn_id: str) -> None:
        """Press the *Test* button of a connection."""
        self.row(conn_id).get_by_role("button", name="Test Connection").click()

    def success_icon(self, conn_id: str) -> Locator:
        """Return the sign of a successful test, which is only the colour of the button's icon."""
        return self.row(conn_id).get_by_role("button", name="Test Connection").locator("svg[color=green]")

    def fields(self) -> Locator:
        """Return all fields of the open section."""
        return self.form.get_by_role("region").locator("[data-scope=field][data-part=root]")

    def field(self, label: str) -> Locator:
        """Return one field of the open section."""
        return self.fields().filter(has=self.page.get_by_text(label, exact=True))

    def labels_and_helps(self) -> list[tuple[str, str]]:
        """Return label and help text of every field of the open section, from top to bottom."""

        def text(field: Locator, part: str) -> str:
            return " ".join(field.locator(f"[data-scope=field][data-part={part}]").all_inner_texts()).strip()

        return [(text(field, "label"), text(field, "helper-text")) for field in self.fields().all()]

    def fill(self, label: str, value: str | bool) -> None:
        """Fill in a field; a text is entered at once."""
        field = self.field(label)
        if isinstance(value, bool):
            if self.value(label) != value:
                field.get_by_role("checkbox").press("Space")
        elif field.get_by_role("combobox").count():
            field.get_by_role("combobox").click()
            self.page.get_by_role("option", name=value, exact=True).click()
        else:
            self._input(field).fill(value)

    def type(self, label: str, text: str) -> None:
        """Fill in a field key by key."""
        self._input(self.field(label)).press_sequentially(text)

    def value(self, label: str) -> Any:
        """Return the value that a field shows."""
        field = self.field(label)
        if field.get_by_role("checkbox").count():
            return field.get_by_role("checkbox").is_checked()
        if field.get_by_role("combobox").count():
            return field.locator("input[type=hidden]").input_value()
        return self._input(field).input_value()

    @staticmethod
    def _input(field: Locator) -> Locator:
        return field.get_by_role("textbox").or_(field.get_by_role("spinbutton"))
