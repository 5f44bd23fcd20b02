from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('flowerapp', '0015_stream_entries'),
    ]

    operations = [
        migrations.AddField(
            model_name='flow',
            name='restored_ts',
            field=models.DateTimeField(blank=True, help_text='When it was restored from an archive.', null=True),
        ),
        migrations.AddField(
            model_name='flow',
            name='masked',
            field=models.BooleanField(db_default=False, default=False, help_text='It was restored from an archive without its secrets.'),
        ),
    ]
